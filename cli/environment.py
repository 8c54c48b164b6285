"""What a command finds around it: settings, catalogue, and the servers of a running `safelight up`.

Everything wrong here is a CommandError with the variable's name; nothing here starts or changes anything.
"""

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from pydantic import ValidationError

from cli.errors import CommandError
from core.catalog import Catalog, CatalogError, Model, load_catalog
from core.settings import Settings

ROOT = Path(__file__).parent.parent
"""Where the packages lie. Servers run there, so that a folder `api` in the user's directory is never taken for ours."""


def read_settings() -> Settings:
    """The settings, paths made absolute. Raises CommandError naming the variable that is wrong."""
    try:
        settings = Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        reason = first["msg"].removeprefix("Value error, ")
        what = f"The setting SAFELIGHT_{name} is wrong" if name else "The settings are wrong"
        raise CommandError(f"{what}: {reason}.") from None
    paths = {"data_dir": settings.data_dir, "models_dir": settings.models_dir, "catalog": settings.catalog_path}
    return settings.model_copy(update={name: path.absolute() for name, path in paths.items()})


def read_catalog(settings: Settings) -> Catalog:
    """The catalogue. Raises CommandError with the place and the reason."""
    try:
        return load_catalog(settings.catalog_path)
    except CatalogError as error:
        raise CommandError(str(error)) from None
    except OSError as error:
        raise CommandError(f"The catalogue {settings.catalog_path} cannot be read: {error.strerror}.") from None


def has_torch() -> bool:
    """Whether local models can be drawn with; looked for, not imported."""
    return all(find_spec(name) is not None for name in ("torch", "diffusers", "transformers"))


def missing_files(model: Model, settings: Settings) -> str | None:
    """What is missing of a model's files and what to do; None when nothing is, or a hub has them."""
    folder = settings.models_dir / model.source
    if model.generator != "diffusers_local" or (folder / "model_index.json").is_file():
        return None
    if model.source.count("/") == 1 and not model.source.startswith((".", "/")) and not folder.exists():
        return None
    return (
        f"The model {model.id} is not in {folder} (there is no model_index.json): fetch the repository whole or run "
        "`make train`, or name another catalogue with SAFELIGHT_CATALOG."
    )


def served_queues(catalog: Catalog, settings: Settings) -> tuple[str, ...]:
    """The queues in which some model waits that this machine can draw with."""
    can = {
        "fake": True,
        "diffusers_local": has_torch(),
        "openai_images": settings.openai_api_key is not None and find_spec("openai") is not None,
    }
    return tuple(sorted({model.queue for model in catalog.models if can[model.generator]}))


def threads(catalog: Catalog, queues: Sequence[str]) -> int:
    """How many threads a worker of these queues should have: two share a device, a provider takes many calls."""
    return 32 if all(catalog.is_remote(queue) for queue in queues) else 2


def joined(settings: Settings) -> Settings:
    """The settings with the URLs of the embedded servers that run on this data directory, where none are set.

    Raises CommandError when there are none.
    """
    found = {"database_url": settings.database_url, "redis_url": settings.redis_url}
    if settings.database_url is None:
        found["database_url"] = _embedded_url(
            settings, "postgres", "postgresql://safelight:{password}@127.0.0.1:{port}/safelight"
        )
    if settings.redis_url is None:
        found["redis_url"] = _embedded_url(settings, "valkey", "redis://:{password}@127.0.0.1:{port}")
    return settings.model_copy(update=found)


def _embedded_url(settings: Settings, name: str, pattern: str) -> str:
    directory = settings.data_dir / name
    try:
        return pattern.format(password=(directory / "password").read_text(), port=(directory / "port").read_text())
    except OSError:
        variable = "SAFELIGHT_DATABASE_URL" if name == "postgres" else "SAFELIGHT_REDIS_URL"
        raise CommandError(
            f"There is no {name} under {settings.data_dir}: start `safelight up` on this directory, or set {variable}."
        ) from None


def reachable_host(settings: Settings) -> str:
    """The host by which this machine reaches the API: "all addresses" is none to connect to."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - compared, not bound


def variables(settings: Settings) -> dict[str, str]:
    """The environment of a server: ours, with the URLs that we know and with absolute paths."""
    names = ("data_dir", "models_dir", "catalog", "database_url", "redis_url", "storage_url")
    known = {f"SAFELIGHT_{name.upper()}": str(getattr(settings, name)) for name in names if getattr(settings, name)}
    return os.environ | known
