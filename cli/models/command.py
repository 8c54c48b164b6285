"""`safelight models list | check | add`: the models of the catalogue on this machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.models.control_entry import control_entry_of, control_lora_entry_of, network_folder
from cli.environment import explain_missing_files, explain_missing_packages, has_torch, read_catalog, read_settings
from cli.errors import CommandError
from cli.models.ip_adapter_entry import ip_adapter_entry_of, is_ip_adapter_file
from cli.models.lora_entry import FileEntry, is_lora_file, lora_entry_of, write_file_entry
from cli.models.entry import Entry, entry_of
from cli.models.trial import try_model
from cli.packages import install_command
from cli.table import format_table

if TYPE_CHECKING:
    from core.catalog import Catalog, Model
    from core.settings import Settings

app = typer.Typer(
    name="models",
    help="List, check and add the models of the catalogue.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


@app.command("list")
def list_models() -> None:
    """List the models of the catalogue: id, generator, queue, sizes, and what is missing on this machine."""
    settings = read_settings()
    catalog = read_catalog(settings)
    rows = [
        (model.id, model.generator, model.queue, ", ".join(model.sizes), _obstacle(model, catalog, settings) or "ready")
        for model in catalog.models
    ]
    print("\n".join(format_table([("id", "generator", "queue", "sizes", "state"), *rows])))


@app.command()
def check(
    ids: Annotated[list[str] | None, typer.Argument(help="Ids or aliases of models. Default: all.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Directory for the images.")] = None,
) -> None:
    """Load each model and generate an image with it, and one with each LoRA, control and IP-Adapter of it.

    Exit code 1 if one of them fails. Control and reference images are half black and half white.
    Models of a provider are left out, as each image costs money.

    Example: safelight models check unclip-mini --output images
    """
    settings = read_settings()
    catalog = read_catalog(settings)
    models = [_model(catalog, name) for name in ids] if ids else list(catalog.models)
    failures = 0
    for model in models:
        if model.is_remote:
            print(f"{model.id}: left out, {model.generator} costs money for each image")
            continue
        problem = _obstacle(model, catalog, settings) or try_model(model, settings, output)
        failures += problem is not None
        if problem is not None:
            print(f"{model.id}: FAILED: {problem}")
    if failures:
        raise CommandError(f"{failures} of {len(models)} models cannot be used; the lines above say why.")


@app.command()
def add(
    source: Annotated[
        str,
        typer.Argument(
            help="Directory of a diffusers pipeline, its id on the hub (owner/name), the directory of a control "
            "network, or one .safetensors file: a checkpoint, a LoRA, a Control-LoRA or an IP-Adapter."
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option("--id", help="Name in requests; of a control network, its type. Default: that of the source."),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            help="Of a checkpoint: directory or hub id of a diffusers pipeline of its family, for its configuration. "
            "Default: a model of the catalogue, or the hub."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Of a LoRA, a control network or an IP-Adapter: the model that it is for. Default: the only one that "
            "it fits."
        ),
    ] = None,
    image_encoder: Annotated[
        Path | None,
        typer.Option(
            help="Of an IP-Adapter: the folder of its image encoder in models_dir. Default: that of the model's other "
            "adapters, or image_encoder beside the file."
        ),
    ] = None,
    mode: Annotated[
        int | None, typer.Option(min=0, max=99, help="Of a union control network: its number of the type.")
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Add the entry to the catalogue.")] = False,
) -> None:
    """Print a catalogue entry for a model: sizes, steps, guidance and memory as its family has them.

    A checkpoint, one .safetensors file, needs the configuration of its family beside it. A LoRA, a
    control network or an IP-Adapter becomes part of the entry of its model; --write copies it into models_dir if it is
    outside.

    Read it, and change what you know better. Running processes read the changed catalogue within seconds.

    Examples: safelight models add ./sdxl-base --id sdxl --write
    safelight models add pixel-art.safetensors --model sdxl --write
    """
    settings = read_settings()
    catalog = read_catalog(settings)
    part = _part_entry_of(source, name, model, image_encoder, mode, catalog, settings)
    entry = part or _model_entry_of(source, name, config, model, catalog, settings)
    print(entry.toml)
    if write:
        _write(entry, settings.catalog_path)
    for note in entry.notes:
        typer.echo(f"note: {note}", err=True)
    if write:
        typer.echo(f"Added to {settings.catalog_path}. Try it: safelight models check {entry.model_id}", err=True)


@app.command()
def reload() -> None:
    """Check the catalogue, and have the running processes of this machine read it again.

    They follow the file within a second or two, also after a change without this command, or after SIGHUP. A catalogue
    that is not valid changes nothing: they keep the one that they have, and log why.

    Example: safelight models reload
    """
    settings = read_settings()
    catalog = read_catalog(settings)
    try:
        settings.catalog_path.touch()
    except OSError as error:
        raise CommandError(f"{settings.catalog_path} cannot be touched: {error.strerror}.") from None
    print(f"{len(catalog.models)} models in {settings.catalog_path}; running processes read them now")


def _part_entry_of(
    source: str,
    name: str | None,
    model: str | None,
    image_encoder: Path | None,
    mode: int | None,
    catalog: "Catalog",
    settings: "Settings",
) -> FileEntry | None:
    """The entry of a LoRA, a control network or an IP-Adapter. None: the source is none of these."""
    file = Path(source)
    if image_encoder is not None and not is_ip_adapter_file(file):
        raise CommandError(f"{source} is no IP-Adapter: --image-encoder is only for IP-Adapters.")
    folder = network_folder(source, settings)
    if mode is not None and folder is None:
        raise CommandError(f"{source} is no directory of a control network: --mode is only for these.")
    if is_ip_adapter_file(file):
        return ip_adapter_entry_of(file, name, model, image_encoder, catalog, settings)
    if is_lora_file(file):
        control_lora = control_lora_entry_of(file, name, model, catalog, settings)
        return control_lora or lora_entry_of(file, name, model, catalog, settings)
    return None if folder is None else control_entry_of(folder, name, mode, model, catalog, settings)


def _model_entry_of(
    source: str, name: str | None, config: str | None, model: str | None, catalog: "Catalog", settings: "Settings"
) -> Entry:
    """The entry of a model that the catalogue does not have. Raises CommandError."""
    if model is not None:
        raise CommandError(f"{source} is no LoRA, control network or IP-Adapter: --model is only for these.")
    entry = entry_of(source, name, config, catalog, settings)
    names = {name for other in catalog.models for name in (other.id, *other.aliases)}
    if entry.model_id in names:
        raise CommandError(f"The catalogue has a model {entry.model_id} already; choose another name with --id.")
    return entry


def _write(entry: Entry | FileEntry, path: Path) -> None:
    """Add an entry to the catalogue."""
    if isinstance(entry, FileEntry):
        write_file_entry(entry, path)
    else:
        _append(entry.toml, path)


def _append(entry: str, path: Path) -> None:
    """Append an entry to the catalogue, if the catalogue is still valid then: a worker could not start with another."""
    from core.catalog import CatalogError, parse_catalog
    from core.catalog.file import replace_catalog

    try:
        text = path.read_text("utf-8").rstrip("\n") + f"\n\n{entry}\n"
        parse_catalog(text, path)
        replace_catalog(path, text)
    except CatalogError as error:
        raise CommandError(
            f"Nothing was written, as the catalogue would not be valid with this entry: {error}"
        ) from None
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}.") from None


def _model(catalog: "Catalog", name: str) -> "Model":
    from core.errors import ModelNotFound

    try:
        return catalog.model(name)
    except ModelNotFound as error:
        raise CommandError(error.message) from None


def _obstacle(model: "Model", catalog: "Catalog", settings: "Settings") -> str | None:
    """Why a model cannot be used here, as far as that is known without loading it."""
    if model.generator == "diffusers_local" and not has_torch():
        return f"needs torch, diffusers and transformers: {install_command('worker')}"
    if (setting := model.spec.setting) is not None and getattr(settings, setting) is None:
        return f"needs SAFELIGHT_{setting.upper()}"
    return explain_missing_packages(model) or explain_missing_files(model, settings)
