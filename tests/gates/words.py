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
    able accepted allowed asked begun brought built bundled called carried carries changed checked chosen claimable
    claimed cleaned combined compared computed copied counted covered dealt denied described detached divided done
    doubled drawn edited emptied ended enlarged entered escaped estimated exhausted fed felt filled filtered
    finished fitted flagged folded formatted fought found freed gathered given gone got grown handed hashed heard
    held hopeless imported indexed inserted joined kept killed known labelled laid lain lasted launched
    learned learnt lent listed listened loaded locked logged looked lost made mapped marked matched meant
    measured merged missed mixed mounted moved named needed noted numbered observed offered omitted opened ordered
    packed padded paid passed patched paused picked placed planned posted prepared printed processed produced
    promised provided published pulled pushed quoted raised ranked reached received reclaimed recorded reduced
    referenced rejected released remembered removed renamed renewed repeated replaced replayed reported
    requested reserved resolved returned reversed rotated rounded rung said saved scaled scheduled scored seen
    selected sent served settled shaped shifted shown skipped slept solved sown spelled spent spooled spread stated
    stopped streamed stripped stuck submitted summed superseded supported swept swung taken taught tested thrown
    told torn touched tracked trained transformed translated tried trimmed troubled truncated turned unasked
    understood unpacked unreached unwanted upgraded uploaded used validated varied verified visited waited waiting
    wanted warned watched withheld woken won worn wound wrapped written
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
    "worker/webhooks/deliver.py": {"GONE"},  # status 410, as HTTP calls it
}
"""By file: names that are the standard term."""

NAMES_TO_CHANGE: dict[str, set[str]] = {
    "api/jobs/idempotency.py": {"REPLAYED"},
    "bench/queue_length.py": {"_opened", "claimed", "done", "given", "made", "taken", "what"},
    "bench/references.py": {"done", "nothing"},
    "bench/table.py": {"what"},
    "cli/batch/command.py": {"again", "begun", "ended", "given", "looked"},
    "cli/bench.py": {"done"},
    "cli/generate.py": {"chosen", "meant", "numbered", "what"},
    "core/batches/input_file.py": {"both", "shown", "whole"},
    "core/batches/requests.py": {
        "_has_one_door",
        "_validated",
        "asked",
        "door",
        "doors",
        "given",
        "said",
        "shown",
        "wanted",
    },
    "core/catalog.py": {"_withheld", "known", "mixed", "offered", "twice", "withheld"},
    "core/egress.py": {"_DENIED", "_allowed", "_received", "allowed", "known", "mapped"},
    "core/generation.py": {"done"},
    "core/job_inserts.py": {"ranked"},
    "core/jobs.py": {
        "_GIVEN",
        "_ended",
        "_held",
        "_unwanted",
        "counted",
        "done",
        "exhausted",
        "held",
        "kept",
        "moved",
        "named",
        "unwanted",
        "waiting",
    },
    "core/keys.py": {"SHOWN"},
    "core/outbox/claims.py": {"selected", "waiting"},
    "core/outbox/deliveries.py": {"gone", "joined", "ordered", "others", "waiting"},
    "core/outbox/signing.py": {"SHOWN"},
    "core/queries.py": {"claimable", "waiting"},
    "core/redis/pending_requests.py": {"asked", "found"},
    "core/redis/progress.py": {"changed", "found", "heard"},
    "core/requests/fields.py": {"named"},
    "core/requests/inputs.py": {"carried"},
    "core/requests/job.py": {"known"},
    "core/requests/openai.py": {"given", "said", "wanted"},
    "core/requests/plan.py": {"_chosen", "able", "allowed"},
    "core/responses/openai.py": {"said"},
    "core/settings.py": {"RENAMED"},
    "core/tables/jobs.py": {"_waiting"},
    "core/webhooks/fields.py": {"_ALL"},
    "migrations/operations.py": {"_quoted", "found", "known"},
    "migrations/runner.py": {"_locked"},
    "worker/generation/inputs.py": {"found"},
    "worker/generation/local.py": {"found"},
    "worker/generation/microbatch.py": {"allowed", "claimed", "drawn", "held", "kept", "moved"},
    "worker/generation/progress.py": {"done"},
    "worker/generation/provider.py": {"found"},
    "worker/generators/denoiser.py": {"_asked", "_begun", "asked", "watched"},
    "worker/generators/diffusers_local.py": {"said", "spread", "wanted"},
    "worker/generators/fake.py": {"edited"},
    "worker/generators/mask.py": {"drawn"},
    "worker/generators/openai_images.py": {"_most", "most", "waited"},
    "worker/generators/openai_replies.py": {"drawn", "one", "said"},
    "worker/generators/openai_streams.py": {"said", "seen"},
    "worker/generators/operations.py": {"_loaded", "known", "taken"},
    "worker/generators/parameters.py": {"given", "named", "needed", "taken", "wanted"},
    "worker/generators/previews.py": {"seen", "told"},
    "worker/generators/truncation.py": {"_SHOWN", "kept", "shown", "truncated", "whole"},
    "worker/generators/unclip/batch.py": {"_spread", "each", "given"},
    "worker/generators/unclip/conditioning.py": {"_reduced", "joined", "nothing"},
    "worker/generators/unclip/enlarging.py": {"_doubled", "doubled", "enlarged", "grown"},
    "worker/generators/unclip/networks.py": {"mixed"},
    "worker/generators/unclip/original.py": {"scaled"},
    "worker/generators/unclip/pipeline.py": {"drawn", "given", "kept", "known", "nothing", "told", "wanted"},
    "worker/generators/unclip/prior.py": {"told"},
    "worker/generators/unclip/threads.py": {"computed"},
    "worker/generators/unclip/upscaler.py": {"enlarged"},
    "worker/sweep/cleanup.py": {"found", "known"},
    "worker/webhooks/deliver.py": {"what"},
}
"""By file: names that are still to be changed."""

WORDS_THAT_STAY: dict[str, set[str]] = {
    "bench/queue_length.py": {"batch_key"},  # a column
    "core/batches/input_file.py": {"shelf"},  # an example of metadata
    "core/settings.py": {"lane", "picture"},  # old names, which are refused
    "core/tables/jobs.py": {"batch_key"},  # a column
    "core/tables/webhooks.py": {"lane"},  # a column
    "docs/decisions/0012-upgrades-without-a-stop.md": {"batch_key", "lane"},  # columns
    "tests/core/test_plans.py": {"batch_key", "lane"},  # columns
    "tests/faults/test_upgrade.py": {"batch_key"},  # a column
    "tests/story/test_batches.py": {"shelf"},  # an example of metadata
}
"""By file: words that are the names of something else."""

WORDS_TO_CHANGE: dict[str, set[str]] = {
    "bench/queue_length.py": {"ledgers"},
    "tests/machine/test_job_machine.py": {"ledger"},
    "tests/model/test_threads.py": {"lane", "lanes"},
    "tests/model/test_unclip.py": {"pictures"},
    "worker/generation/microbatch.py": {"undrawn"},
}
"""By file: words that are still to be changed."""
