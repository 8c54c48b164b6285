"""The generators: each draws images with one kind of model, behind the protocol of `core/generation.py`.

A generator's libraries are imported when one of its models is built, so a worker that serves none of them needs none.
"""

from core.catalog import Model
from core.errors import ModelUnavailable
from core.generation import Generator, RemoteGenerator
from core.settings import Settings


def build(model: Model, settings: Settings) -> Generator:
    """The generator that the catalogue names for a model; nothing is loaded yet. Raises ModelUnavailable."""
    if model.generator == "fake":
        from worker.generators.fake import FakeGenerator

        return FakeGenerator(model)
    if model.generator == "diffusers_local":
        try:
            from worker.generators.diffusers_local import DiffusersGenerator
        except ModuleNotFoundError as error:
            raise ModelUnavailable(
                f"Model {model.id} needs the package {error.name}: install safelight[worker]."
            ) from error
        return DiffusersGenerator(model, settings)
    raise ModelUnavailable(
        f"Model {model.id} asks for the generator {model.generator!r}, which this worker does not have."
    )


def build_remote(model: Model, settings: Settings) -> RemoteGenerator:
    """The generator of a model that a provider draws. Raises ModelUnavailable."""
    try:
        from worker.generators.openai_images import OpenAIImages
    except ModuleNotFoundError as error:
        raise ModelUnavailable(
            f"Model {model.id} needs the package {error.name}: install safelight[openai]."
        ) from error
    return OpenAIImages(model, settings)
