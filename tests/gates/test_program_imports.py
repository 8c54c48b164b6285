"""No program warns when it is imported. Programs of tests are forked after the imports, so they would not show it."""

import subprocess
import sys

from tests.forks import IMPORTS


def test_the_modules_of_all_programs_are_imported_without_a_warning() -> None:
    statement = f"import cli.main, {', '.join(IMPORTS)}"

    result = subprocess.run([sys.executable, "-W", "error", "-c", statement], capture_output=True, text=True)

    assert result.returncode == 0, result.stderr
