"""`safelight models list | check | add`: the models of the catalogue on this machine."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.environment import explain_missing_files, explain_missing_packages, has_torch, read_catalog, read_settings
from cli.errors import CommandError
from cli.ip_adapter_entry import ip_adapter_entry_of, is_ip_adapter_file
from cli.lora_entry import is_lora_file, lora_entry_of, write_file_entry
from cli.model_entry import entry_of
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

PROMPT = "A cat sitting on a sofa."
SEED = 7


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
    """Load each model and generate an image with it, and one with each of its LoRAs. Exit code 1 if one of them fails.

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
        problem = _obstacle(model, catalog, settings) or _try_model(model, catalog, settings, output)
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
            help="Directory of a diffusers pipeline, its id on the hub (owner/name), or one .safetensors file: a "
            "checkpoint, a LoRA or an IP-Adapter."
        ),
    ],
    name: Annotated[str | None, typer.Option("--id", help="Name in requests. Default: that of the source.")] = None,
    config: Annotated[
        str | None,
        typer.Option(
            help="Of a checkpoint: directory or hub id of a diffusers pipeline of its family, for its configuration. "
            "Default: a model of the catalogue, or the hub."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Of a LoRA or an IP-Adapter: the model that it is for. Default: the only one of its family."),
    ] = None,
    image_encoder: Annotated[
        Path | None,
        typer.Option(
            help="Of an IP-Adapter: the folder of its image encoder in models_dir. Default: that of the model's other "
            "adapters, or image_encoder beside the file."
        ),
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Add the entry to the catalogue.")] = False,
) -> None:
    """Print a catalogue entry for a model: sizes, steps, guidance and memory as its family has them.

    A checkpoint, one .safetensors file, needs the configuration of its family beside it. A LoRA or
    an IP-Adapter becomes part of the entry of its model; --write copies its file into models_dir if it is outside.

    Read it, and change what you know better. Running processes read the changed catalogue within seconds.

    Examples: safelight models add ./sdxl-base --id sdxl --write
    safelight models add pixel-art.safetensors --model sdxl --write
    """
    settings = read_settings()
    catalog = read_catalog(settings)
    file = Path(source)
    if image_encoder is not None and not is_ip_adapter_file(file):
        raise CommandError(f"{source} is no IP-Adapter: --image-encoder is only for IP-Adapters.")
    if is_ip_adapter_file(file) or is_lora_file(file):
        part = (
            ip_adapter_entry_of(file, name, model, image_encoder, catalog, settings)
            if is_ip_adapter_file(file)
            else lora_entry_of(file, name, model, catalog, settings)
        )
        print(part.toml)
        model_id, notes = part.model_id, part.notes
        if write:
            write_file_entry(part, settings.catalog_path)
    else:
        if model is not None:
            raise CommandError(f"{source} is no LoRA and no IP-Adapter: --model is only for these.")
        entry = entry_of(source, name, config, catalog, settings)
        names = {name for other in catalog.models for name in (other.id, *other.aliases)}
        if entry.model_id in names:
            raise CommandError(f"The catalogue has a model {entry.model_id} already; choose another name with --id.")
        print(entry.toml)
        model_id, notes = entry.model_id, entry.notes
        if write:
            _append(entry.toml, settings.catalog_path)
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    if write:
        typer.echo(f"Added to {settings.catalog_path}. Try it: safelight models check {model_id}", err=True)


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


def _try_model(model: "Model", catalog: "Catalog", settings: "Settings", output: Path | None) -> str | None:
    """Generate an image, print what it took, and unload the model. Returns why it failed."""
    from cli.bench import SilentReporter
    from core.errors import InvalidRequest
    from core.generation import ImageRequest
    from core.generation_errors import GenerationError
    from core.loras import Lora
    from core.requests.job import JobRequest
    from core.requests.plan import plan
    from worker.generators import build

    try:
        job = plan(JobRequest(model=model.id, prompt=PROMPT, seed=SEED), catalog, settings, "check")
        started = time.perf_counter()
        generator = build(model, settings)
        try:
            generator.load()
            loaded_at = time.perf_counter()
            (image,) = generator.generate([ImageRequest(job.prompt, job.parameters)], SilentReporter())
            generated_at = time.perf_counter()
            for lora in model.loras:  # one that does not fit is an error
                parameters = job.parameters.model_copy(update={"loras": [Lora(name=lora.name, weight=lora.weight)]})
                generator.generate([ImageRequest(job.prompt, parameters)], SilentReporter())
            receipt, megabytes = generator.receipt(), generator.memory().weights >> 20
        finally:
            generator.unload()  # also after a failure: the next model needs the memory
    except (GenerationError, InvalidRequest) as error:
        return getattr(error, "detail", None) or error.message
    load, generate = loaded_at - started, generated_at - loaded_at
    place = f"{job.parameters.size} on {receipt.get('device')} ({receipt.get('dtype')})"
    loras = f", {len(model.loras)} LoRA(s) tried" if model.loras else ""
    print(f"{model.id}: ok, {place}: load {load:.1f} s, image {generate:.1f} s, {megabytes} MB{loras}")
    if output is not None:
        path = output / f"{model.id.replace('/', '-')}.png"
        try:
            output.mkdir(parents=True, exist_ok=True)
            image.save(path)
        except OSError as error:
            raise CommandError(f"{path} cannot be written ({error.strerror}).") from None
    return None
