"""What to install for a part of Safelight: its packages by name, as Safelight itself is on no package index."""

import re
import shlex
from importlib.metadata import PackageNotFoundError, requires


def install_command(*extras: str) -> str:
    """The command that installs the packages of extras (`worker`, `openai`), in the versions of pyproject.toml."""
    try:
        requirements = requires("safelight") or []
    except PackageNotFoundError:  # a checkout that was never installed
        return "make install"
    packages = []
    for requirement in requirements:
        package, _, marker = (part.strip() for part in requirement.partition(";"))
        extra = re.search(r"extra == ['\"]([a-z]+)['\"]", marker)
        if extra is not None and extra[1] in extras and not package.startswith("safelight"):
            packages.append(package)
    return shlex.join(["pip", "install", *dict.fromkeys(packages)])
