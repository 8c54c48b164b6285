"""Where commands run: settings, catalogue, and the embedded servers of a running `safelight up`.

Errors here are CommandErrors that name the variable. Nothing here starts or changes anything.
"""

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from cli.errors import CommandError
from core.catalog import Catalog, CatalogError, Model, load_catalog
from core.model_files.problems import explain_unusable
from core.settings import Settings
from core.settings.environment import SettingsError, read

ROOT = Path(__file__).parent.parent
"""Where our packages are. Servers run there, so that a folder `api` in the user's directory is never imported."""


def read_settings() -> Settings:
    """The settings, with absolute paths. Raises CommandError that names the wrong variable."""
    try:
        settings = read()
    except SettingsError as error:
        raise CommandError(str(error)) from None
    paths = {"data_dir": settings.data_dir, "models_dir": settings.models_dir, "catalog": settings.catalog_path}
    return settings.model_copy(update={name: path.absolute() for name, path in paths.items()})


def read_catalog(settings: Settings) -> Catalog:
    """The catalogue. Raises CommandError with the path and the reason."""
    try:
        return load_catalog(settings.catalog_path)
    except CatalogError as error:
        raise CommandError(str(error)) from None
    except OSError as error:
        raise CommandError(f"The catalogue {settings.catalog_path} cannot be read: {error.strerror}.") from None


def read_available_catalog(settings: Settings) -> Catalog:
    """The catalogue, without the models whose setting is missing. Raises CommandError if the default is one."""
    try:
        return read_catalog(settings).available(settings)
    except CatalogError as error:
        raise CommandError(str(error)) from None


def has_torch() -> bool:
    """Whether the packages for local models are installed. It does not import them."""
    return all(find_spec(name) is not None for name in ("torch", "diffusers", "transformers"))


def explain_missing_files(model: Model, settings: Settings) -> str | None:
    """What is wrong with the files of a model and what to do; None if all are there or may come from a hub."""
    if (reason := explain_unusable(model, settings.models_dir)) is None:
        return None
    folder = settings.models_dir / (model.config or model.source)
    if not (folder / "model_index.json").is_file() and not model.is_checkpoint:
        return (
            f"The model {model.id} is not in {folder} (there is no model_index.json): clone the whole repository or "
            "run `make train`, or set SAFELIGHT_CATALOG to another catalogue."
        )
    return f"The model {model.id} cannot be loaded: {reason}"


def explain_missing_packages(model: Model) -> str | None:
    """Which module a model's quantised weights need and is not installed; None if all are there."""
    for module in sorted(model.packages):
        try:
            is_there = find_spec(module) is not None
        except ModuleNotFoundError:  # its parent is missing
            is_there = False
        if not is_there:
            return f"The weights of {model.id} need the module {module}: pip install {module.replace('.', '-')}."
    return None


def list_available_queues(catalog: Catalog, settings: Settings) -> tuple[str, ...]:
    """The queues with at least one model that can run on this machine."""
    is_available = {
        "fake": True,
        "diffusers_local": has_torch(),
        "openai_images": settings.openai_api_key is not None and find_spec("openai") is not None,
    }
    return tuple(sorted({model.queue for model in catalog.models if is_available[model.generator]}))


def get_concurrency(catalog: Catalog, queues: Sequence[str]) -> int:
    """The number of threads for a worker of these queues: 32 for a provider, 2 for a device."""
    return 32 if all(catalog.is_remote(queue) for queue in queues) else 2


def with_embedded_urls(settings: Settings) -> Settings:
    """The settings, with the URLs of the embedded servers in data_dir where none are set.

    Raises CommandError if there are no embedded servers.
    """
    return with_embedded_redis(with_embedded_database(settings))


def with_embedded_database(settings: Settings) -> Settings:
    """The settings, with the URLs of the embedded Postgres if none is set. Raises CommandError if there is none."""
    if settings.database_url is not None:
        return settings
    urls = {
        name: _embedded_url(
            settings, "postgres", f"postgresql://{role}:{{password}}@127.0.0.1:{{port}}/safelight", file
        )
        for name, role, file in (
            ("database_url", "safelight_app", "app_password"),
            ("migrations_database_url", "safelight", "password"),
        )
    }
    return settings.model_copy(update=urls)


def with_embedded_redis(settings: Settings) -> Settings:
    """The settings, with the URL of the embedded Valkey if none is set. Raises CommandError if there is none."""
    if settings.redis_url is not None:
        return settings
    url = _embedded_url(settings, "valkey", "redis://:{password}@127.0.0.1:{port}", "password")
    return settings.model_copy(update={"redis_url": url})


def _embedded_url(settings: Settings, name: str, pattern: str, file: str) -> str:
    directory = settings.data_dir / name
    try:
        return pattern.format(password=(directory / file).read_text(), port=(directory / "port").read_text())
    except OSError:
        variable = "SAFELIGHT_DATABASE_URL" if name == "postgres" else "SAFELIGHT_REDIS_URL"
        raise CommandError(
            f"There is no {name} under {settings.data_dir}: start `safelight up` on this directory, or set {variable}."
        ) from None


def reachable_host(settings: Settings) -> str:
    """The host under which this machine reaches the API: a wildcard address becomes the loopback address."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - compared, not bound


def server_environment(settings: Settings) -> dict[str, str]:
    """The environment variables of a server: ours, with the URLs and absolute paths of the settings.

    No server gets the password of the owner of the tables.
    """
    names = ("data_dir", "models_dir", "catalog", "database_url", "redis_url", "storage_url")
    variables = {f"SAFELIGHT_{name.upper()}": str(getattr(settings, name)) for name in names if getattr(settings, name)}
    own_variables = {name: value for name, value in os.environ.items() if name != "SAFELIGHT_MIGRATIONS_DATABASE_URL"}
    return own_variables | variables
