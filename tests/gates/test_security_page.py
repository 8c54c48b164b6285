"""The tests that SECURITY.md names exist."""

import re
from pathlib import Path

import tests

ROOT = Path(tests.__file__).parent.parent
NAMED = re.compile(r"`(tests/[a-z_/]+\.py)`(?: `(test_[a-z0-9_]+)`)?")


def test_every_test_that_the_page_names_exists() -> None:
    pairs = NAMED.findall((ROOT / "SECURITY.md").read_text())

    assert len(pairs) > 30
    for path, name in pairs:
        assert f"def {name}" in (ROOT / path).read_text(), f"{path}: {name}"
