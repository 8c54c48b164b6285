"""Each generator is made once a session. A test runs for every generator and task that it names."""

from collections.abc import Callable
from pathlib import Path

import pytest

from core.generation import Generator

from .kinds import BUNDLED, KINDS, Artist
from .pipelines import a_tiny_stable_diffusion, save_pipeline


@pytest.fixture(scope="session")
def make_generator(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Generator]:
    """Makes a generator by the name of its kind, or gives the one that was made before."""
    generators: dict[str, Generator] = {}

    def make(name: str) -> Generator:
        if name.startswith("unclip-mini") and not (BUNDLED / "model_index.json").exists():
            pytest.skip("the bundled model's weights are not in models/unclip-mini")
        if name not in generators:
            generators[name] = KINDS[name].make(tmp_path_factory.mktemp("models") / "model")
        return generators[name]

    return make


@pytest.fixture
def artist(request: pytest.FixtureRequest, make_generator: Callable[[str], Generator]) -> Artist:
    """One generator at one task; which, a test says by parametrizing this with `artists(…)`, indirectly."""
    name, task = request.param
    return Artist(name, KINDS[name], make_generator(name), task)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny Stable Diffusion."""
    return save_pipeline(a_tiny_stable_diffusion(), tmp_path_factory.mktemp("models") / "tiny")
