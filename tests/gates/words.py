"""The words that `test_names.py` looks for, and where each may still be.

Left out of the participles: terms of the field (`hidden`, `encoded`), statuses and fields of JSON (`queued`),
and words with another meaning (`left`, `set`, `read`).
"""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


PRONOUNS = _words(
    """
    again all any anybody anyone anything both each either every everybody everyone everything he here it lately
    least less more most neither nobody none nothing once one ones others same she some somebody something that them
    then there these they this those twice us we what which who whoever whole whom whose you
    """
)

PARTICIPLES = _words(
    """
    able accepted added allowed arrived asked begun blurred brought built bundled called carried carries
    changed checked chosen claimable claimed cleaned clipped clocked combined compared computed controlled converted
    copied counted covered crowded dealt denied described detached divided done doubled drawn dropped edited emptied
    ended enlarged entered escaped estimated exhausted extended fed felt filled filtered finished fitted flagged
    folded formatted fought found freed fused gathered given gone got grown guided handed happened hashed heard held
    hopeless ignored imported indexed inherited inserted joined kept killed known labelled laid lain lasted launched
    learned learnt leased lent listed listened loaded locked logged looked lost made mapped marked masked matched
    meant measured merged missed mixed mounted moved named needed noted numbered observed offered omitted opened
    ordered owned packed padded paid parsed passed patched paused permitted picked placed planned posted prepared
    printed processed produced promised provided published pulled pushed quoted raised ranked reached received
    reclaimed recorded reduced referenced rejected released remembered removed renamed renewed repeated replaced
    replayed reported requested reserved resized resolved retained returned reversed rotated rounded rung said saved
    scaled scheduled scored seen selected sent served settled shaped shifted shown skipped slept solved sown spelled
    spent spooled spread stated stopped streamed stripped stuck submitted summed superseded supported swept swung
    taken taught tested thrown timed told torn touched tracked trained transformed translated tried trimmed troubled
    truncated turned unasked understood unlisted unpacked unreached unwanted upgraded uploaded used validated varied
    verified visited waited waiting wanted warned watched weighted withheld woken won worn wound wrapped written
    """
)

RETIRED = _words(
    """
    batch_key clerk clerks depths doorbell doorbells lane lanes ledger ledgers picture pictures shelf shelves undrawn
    """
)
"""Nowhere, neither in a name nor in a sentence."""

RETIRED_IN_NAMES = _words(
    """
    ask asker asking asks develop develops door doors drawn forget forgets mark marks missed recall recalls remember
    remembers ring rings settle settled settles told
    """
)
"""Not a part of a name; in a sentence they are ordinary words."""

NAMES_THAT_STAY: dict[str, set[str]] = {
    "worker/webhooks/recorder.py": {"GONE"},  # status 410, as HTTP calls it
}
"""By file: names that are the standard term."""

WORDS_THAT_STAY: dict[str, set[str]] = {
    "bench/queue_length.py": {"batch_key"},  # a column
    "bench/history.py": {"batch_key"},  # a column
    "core/settings/__init__.py": {"lane", "picture"},  # old names, which are refused
    "core/tables/jobs.py": {"batch_key"},  # a column
    "core/tables/webhooks.py": {"lane"},  # a column
    "docs/decisions/0012-upgrades-without-a-stop.md": {"batch_key", "lane"},  # columns
    "models/unclip-mini-words.json": {"picture"},  # a word of prompts
    "tests/contract/test_hires.py": {"depths"},  # an argument of transformers
    "tests/contract/test_matting.py": {"depths"},  # an argument of transformers
    "tests/core/test_plans.py": {"batch_key", "lane"},  # columns
    "tests/faults/test_upgrade.py": {"batch_key"},  # a column
    "tests/story/test_batches.py": {"shelf"},  # an example of metadata
    "training/word_list.py": {"picture"},  # a word of prompts
}
"""By file: words that are the names of something else."""
