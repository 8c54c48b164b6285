"""Names are the field's standard terms: no bare participles or pronouns, and no retired words.

`docs/decisions/0013-plain-words-for-names.md` has the reasons. `tests/gates/words.py` lists the words, and by file the
exceptions. An entry that is no longer needed is an error too.
"""

import ast
import re
from collections.abc import Iterator

from tests.gates import words
from tests.gates.project_files import ROOT, files
from tests.gates.words import PARTICIPLES, PRONOUNS, RETIRED, RETIRED_IN_NAMES

PACKAGES = ("api", "bench", "cli", "clients", "core", "migrations", "worker")

Hits = dict[str, dict[str, int]]
"""By file: each name or word, and the line where it is first."""


def modules() -> list[str]:
    return [name for name in files() if name.endswith(".py") and name.startswith(tuple(f"{top}/" for top in PACKAGES))]


def bindings(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """The variables, arguments, functions, attributes and imports that a module names, and their lines."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name, node.lineno
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name, node.lineno
            case ast.alias(asname=str(name)) | ast.ExceptHandler(name=str(name)):
                yield name, node.lineno
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                yield name, node.lineno


def parts(name: str) -> list[str]:
    """The words of an identifier or of a text, in lower case: `HTTPError` and `http_error` are http and error."""
    return [part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def is_bare(name: str) -> bool:
    return not name.startswith("__") and name.strip("_").lower() in PARTICIPLES | PRONOUNS


def has_retired_part(name: str) -> bool:
    return not RETIRED_IN_NAMES.isdisjoint(parts(name))


def bad_names(source: str) -> dict[str, int]:
    """The names of a module that break the rules, and the line where each is first."""
    hits: dict[str, int] = {}
    for name, line in bindings(ast.parse(source)):
        if is_bare(name) or has_retired_part(name):
            hits[name] = min(line, hits.get(name, line))
    return hits


def retired_words(text: str, path: str = "") -> dict[str, int]:
    """The retired words of a text, and the line where each is first; line 0 is the path of the file."""
    hits: dict[str, int] = {}
    for number, line in enumerate([path, *text.splitlines()]):
        for word in RETIRED.intersection([*parts(line), *re.findall(r"\bbatch_key\b", line)]):
            hits.setdefault(word, number)
    return hits


def read(name: str) -> str | None:
    """The text of a file; None: it is binary."""
    try:
        return (ROOT / name).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def complaints(hits: Hits, allowed: dict[str, set[str]]) -> list[str]:
    """What `allowed` does not list, as `file:line name`, and the entries of `allowed` that nothing needs."""
    entries = {(file, name) for file, names in allowed.items() for name in names}
    bad = [
        f"{file}:{line} {name}"
        for file, lines in hits.items()
        for name, line in lines.items()
        if (file, name) not in entries
    ]
    not_needed = [
        f"{file} {name}: not there any more; delete it from tests/gates/words.py"
        for file, name in sorted(entries)
        if name not in hits.get(file, {})
    ]
    return bad + not_needed


def hits_of_names() -> Hits:
    return {name: hits for name in modules() if (hits := bad_names((ROOT / name).read_text()))}


def hits_of_words() -> Hits:
    texts = {name: text for name in files() if (text := read(name)) is not None}
    return {name: hits for name, text in texts.items() if (hits := retired_words(text, name))}


def test_names_are_no_bare_participles_or_pronouns() -> None:
    problems = complaints(hits_of_names(), words.NAMES_THAT_STAY)

    assert not problems, "\n".join(problems)


def test_retired_words_do_not_return() -> None:
    problems = complaints(hits_of_words(), words.WORDS_THAT_STAY)

    assert not problems, "\n".join(problems)


def test_the_checks_find_what_they_look_for() -> None:
    source = "def found(told, *, n): self._kept = [one for one in n]\nimport x as given\nRING_TIMEOUT = 1\n__all__ = []"
    assert bad_names(source) == {"found": 1, "told": 1, "_kept": 1, "one": 1, "given": 2, "RING_TIMEOUT": 3}
    assert bad_names("def is_found(found_at): updated = deleted = 1\nfor ringtone in string: pass") == {}
    assert retired_words(
        "The planes\nmakePicture, MAX_PICTURE_BYTES, LANCZOS\na ledger's batch_key, microbatch_key"
    ) == {
        "picture": 2,
        "ledger": 3,
        "batch_key": 3,
    }
    assert retired_words("", "core/shelf.py") == {"shelf": 0}


def test_an_entry_that_is_not_needed_fails() -> None:
    hits = {"a.py": {"found": 3}}

    assert complaints(hits, {"a.py": {"found"}}) == []
    assert complaints(hits, {}) == ["a.py:3 found"]
    assert complaints(hits, {"a.py": {"found"}, "b.py": {"kept"}}) == [
        "b.py kept: not there any more; delete it from tests/gates/words.py"
    ]
