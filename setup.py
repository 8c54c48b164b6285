"""Where the packages of a wheel come from (decision 22). All other settings of the build are in pyproject.toml.

In the repository, our packages are folders at the top. In a wheel they are below `safelight/`, because names such as
`api` and `core` in site-packages would collide with those of other projects. An editable installation keeps the names.
A folder that is missing is left out: the images of containers have only what they need.
"""

import sys
from pathlib import Path

from setuptools import find_packages, setup

FOLDERS = ("api", "cli", "clients/python/safelight_client", "core", "migrations", "worker")
IS_EDITABLE = "editable_wheel" in sys.argv
PREFIX = "" if IS_EDITABLE else "safelight."

package_dir = {PREFIX + Path(folder).name: folder for folder in FOLDERS if Path(folder).is_dir()}
packages = [
    package
    for name, folder in package_dir.items()
    for package in (name, *(f"{name}.{inner}" for inner in find_packages(folder)))
]
if Path("safelight").is_dir():
    packages.append("safelight")
if IS_EDITABLE:
    package_dir["training"] = "training"
    packages.append("training")
elif Path("models").is_dir():
    package_dir["safelight.models"] = "models"
    packages.append("safelight.models")

setup(
    packages=packages,
    package_dir=package_dir,
    options={"build": {"build_base": "build/wheel"}},  # not the files that an earlier version has left in build/lib
    package_data={"": ["*.toml", "*.mako", "py.typed", "assets/**/*", "site/**/*"], "safelight.models": ["**/*"]},
)
