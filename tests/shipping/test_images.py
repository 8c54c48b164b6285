"""What the Dockerfiles promise: pinned bases, no root, a healthcheck, no torch where none is needed."""

import re
from importlib.metadata import PackageNotFoundError, distribution

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from core.settings import Settings
from tests.shipping.files import DOCKERFILES, image_environment, instructions, text

EXTRAS = ("api", "worker", "openai", "cli", "embedded", "training", "dev")


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_a_base_image_is_pinned_to_its_patch_release(dockerfile: str) -> None:
    bases = {command.value[0] for command in instructions(dockerfile, "FROM")}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", bases.pop())


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_an_image_does_not_run_as_root(dockerfile: str) -> None:
    (user,) = instructions(dockerfile, "USER")
    assert int(user.value[0].split(":")[0]) >= 1000


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_an_image_says_how_to_tell_that_it_is_well(dockerfile: str) -> None:
    assert instructions(dockerfile, "HEALTHCHECK")


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_an_image_sets_only_settings_that_exist(dockerfile: str) -> None:
    variables = {name for name in image_environment(dockerfile) if name.startswith("SAFELIGHT_")}
    assert variables
    assert {name.removeprefix("SAFELIGHT_").lower() for name in variables} <= set(Settings.model_fields)


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_what_an_image_copies_is_let_through(dockerfile: str) -> None:
    paths = [line[1:].rstrip("/") for line in text(".dockerignore").splitlines() if line.startswith("!")]
    copies = [command for command in instructions(dockerfile, "COPY") if not command.flags]
    assert copies
    for source in (source for command in copies for source in command.value[:-1]):
        assert any(source == path or source.startswith(f"{path}/") for path in paths), source


def test_the_image_of_the_api_carries_no_torch() -> None:
    (extras,) = re.findall(r"'\.\[([a-z,]+)\]'", text("Dockerfile.api"))
    assert extras == "api,openai,mcp,cli"
    assert "torch" not in _needed_by(*extras.split(","))
    assert "torch" in _needed_by("worker")


def test_every_package_that_any_extra_needs_is_pinned() -> None:
    pins = [line for line in text("constraints.txt").splitlines() if not line.startswith("#")]
    pinned = {canonicalize_name(line.split("==")[0]) for line in pins}
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", line) for line in pins)
    assert _needed_by(*EXTRAS) - pinned == {"safelight"}


def _needed_by(*extras: str) -> set[str]:
    """The installed packages that Safelight with some extras needs, and what those need in turn."""
    visited: set[tuple[str, str]] = set()
    queue = [("safelight", extra) for extra in extras]
    while queue:
        package, extra = queue.pop()
        if (package, extra) in visited:
            continue
        try:
            requires = distribution(package).requires or []
        except PackageNotFoundError:  # of another platform, or an extra that is not installed here
            continue
        visited.add((package, extra))
        for requirement in map(Requirement, requires):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                name = canonicalize_name(requirement.name)
                queue.extend((name, option) for option in (*requirement.extras, ""))
    return {package for package, _ in visited}
