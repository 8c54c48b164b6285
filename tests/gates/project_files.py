"""The files of the project that the checks of names and lengths read."""

import re
import subprocess
from pathlib import Path

import core

ROOT = Path(core.__file__).parent.parent
NOT_OURS = re.compile(
    r"CHANGELOG\.md"  # tells what the old names were
    r"|docs/decisions/0013-.*"  # as well
    r"|migrations/versions/.*"  # history
    r"|models/[^/]+/.*"  # vocabularies and licences
    r"|tests/gates/(words|test_names)\.py"  # they name what they look for
)


def files() -> list[str]:
    """The files of the project, also those that are not committed yet."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = sorted({name for name in listing.split("\0") if name and not NOT_OURS.fullmatch(name)})
    return [name for name in names if (ROOT / name).is_file()]
