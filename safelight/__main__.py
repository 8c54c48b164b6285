"""`safelight` and `python -m safelight`: the command, from a wheel as from a checkout.

A wheel has `api`, `cli`, `core` and the others in the folder of this package, a checkout has them beside it. That
folder comes first on the path of this process. The servers start in it, which puts it first on theirs
(`cli.environment.ROOT`).
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
IS_WHEEL = (HERE / "cli").is_dir()
ROOT = HERE if IS_WHEEL else HERE.parent
PATHS = [ROOT] if IS_WHEEL else [ROOT, ROOT / "clients/python"]
"""Where our packages are."""


def main() -> None:
    """Run the command. Without the packages of the command line, say in one sentence what to install."""
    sys.path[:0] = map(str, PATHS)
    try:
        from cli.main import app
    except ModuleNotFoundError as error:
        if (ROOT / (error.name or "").partition(".")[0]).exists():
            raise  # one of ours is missing: a bug
        from importlib.metadata import requires

        packages = [line.partition(";")[0].strip() for line in requires("safelight") or () if 'extra == "cli"' in line]
        sys.exit(f"safelight: the package {error.name} is not installed: pip install {' '.join(map(repr, packages))}")
    app()


if __name__ == "__main__":
    main()
