"""The catalogue entries of files that belong to a model: which one, and where the file goes. That of a LoRA is here."""

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.errors import CommandError
from cli.models.entry import class_name, toml_value
from core.model_files.loras import LoraFamily, is_lora, lora_family_of, unreadable_kind
from core.model_files.weights import read_metadata, read_shapes

if TYPE_CHECKING:
    from core.catalog import Catalog, Model
    from core.settings import Settings

FOLDER = "loras"
"""In models_dir: where the file of a LoRA is copied to, if it is outside."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file, or the folder of a network, to be added to a model.

    copy_to: where it is copied to; None if it is in models_dir already. field: of the model's entry, such as `loras`.
    """

    field: str
    model_id: str
    values: dict[str, Any]
    source: Path
    copy_to: Path | None
    notes: Sequence[str]

    @property
    def toml(self) -> str:
        """The lines for the catalogue, below the table of the model."""
        return "\n".join(
            [f"[[models.{self.field}]]", *(f"{key} = {toml_value(value)}" for key, value in self.values.items())]
        )


def is_lora_file(path: Path) -> bool:
    """Whether a path leads to a file with the tensors of a LoRA."""
    try:
        return path.is_file() and is_lora(read_shapes(path))
    except (OSError, ValueError):
        return False


def lora_entry_of(
    file: Path, name: str | None, model_id: str | None, catalog: "Catalog", settings: "Settings"
) -> FileEntry:
    """The entry of a LoRA. name: in requests; model_id: the model that it belongs to. Raises CommandError."""
    try:
        shapes = read_shapes(file)
    except ValueError as error:
        raise CommandError(f"{error}.") from None
    if (kind := unreadable_kind(shapes)) is not None:
        raise CommandError(f"{file} is {kind}, which cannot be loaded completely; only LoRAs can.")
    family = lora_family_of(shapes)
    model = model_for(file, family, model_id, catalog, settings)
    notes = [] if family else [f"the family of {file.name} is not known; `safelight models check` tells if it fits"]
    name = name or name_of(file)
    if name in (lora.name for lora in model.loras):
        raise CommandError(f"The model {model.id} has a LoRA {name} already; choose another name with --id.")
    copy_to, place = destination(file, FOLDER, settings.models_dir)
    values: dict[str, Any] = {"name": name, "file": place}
    if trigger := read_metadata(file).get("modelspec.trigger_phrase"):
        values["trigger"] = trigger
    return FileEntry("loras", model.id, values, file, copy_to, notes)


def name_of(file: Path) -> str:
    """The name of a file's entry, unless the user chooses another."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", file.stem).strip("-.")[:64]


def destination(file: Path, folder: str, models_dir: Path) -> tuple[Path | None, str]:
    """Where a file is copied to, None if it is in models_dir already, and its place there. Raises CommandError."""
    path, models_dir = file.resolve(), models_dir.resolve()
    copy_to = None if path.is_relative_to(models_dir) else models_dir / folder / file.name
    if copy_to is not None and copy_to.exists():
        raise CommandError(f"{copy_to} exists already; rename {file.name}.")
    return copy_to, (copy_to or path).relative_to(models_dir).as_posix()


def write_file_entry(entry: FileEntry, catalog_path: Path) -> None:
    """Copy the file if it is outside of models_dir, and add it to its model. Raises CommandError."""
    from core.catalog import CatalogError, parse_catalog
    from core.catalog.file import replace_catalog

    try:
        text = _with_entry(catalog_path.read_text("utf-8"), entry)
        parse_catalog(text, catalog_path)
        if entry.copy_to is not None:
            entry.copy_to.parent.mkdir(parents=True, exist_ok=True)
            if entry.source.is_dir():
                shutil.copytree(entry.source, entry.copy_to, ignore=_other_files)
            else:
                shutil.copyfile(entry.source, entry.copy_to)
        replace_catalog(catalog_path, text)
    except CatalogError as error:
        raise CommandError(f"Nothing was written, as the catalogue would not be valid: {error}") from None
    except OSError as error:
        raise CommandError(f"{error.filename} cannot be written: {error.strerror}.") from None


def _other_files(folder: str, names: list[str]) -> list[str]:
    """What is not copied of the folder of a network: pickles, and files that are not read."""
    return [name for name in names if not name.endswith((".json", ".safetensors"))]


def _with_entry(text: str, entry: FileEntry) -> str:
    """The text of the catalogue with one more file of a model. What else is in it stays as it is, comments too."""
    import tomlkit

    document: Any = tomlkit.parse(text)
    table = next(table for table in document["models"] if table["id"] == entry.model_id)
    values: Any = tomlkit.inline_table()
    values.update(entry.values)
    if entry.field not in table:
        table.add(entry.field, tomlkit.array().multiline(True))
    entries = table[entry.field]
    entries.append(tomlkit.item(entry.values) if isinstance(entries, tomlkit.items.AoT) else values)
    return tomlkit.dumps(document)


def model_for(
    file: Path, family: LoraFamily | None, model_id: str | None, catalog: "Catalog", settings: "Settings"
) -> "Model":
    """The model that a file belongs to: the one with the name, or the only one of its family. Raises CommandError."""
    local_models = [model for model in catalog.models if model.generator == "diffusers_local"]
    if model_id is not None:
        model = next((model for model in local_models if model_id in (model.id, *model.aliases)), None)
        if model is None:
            names = ", ".join(model.id for model in local_models) or "none"
            raise CommandError(f"There is no model {model_id} that could use {file.name}; there are: {names}.")
        if family is not None and _fits(model, family, settings) is False:
            raise CommandError(f"{file} was trained for {family.name}, which {model.id} is not.")
        return model
    if family is None:
        raise CommandError(f"{file} does not tell which models it was trained for; name one with --model.")
    models = [model for model in local_models if _fits(model, family, settings)]
    if len(models) != 1:
        names = "has none" if not models else f"has {', '.join(model.id for model in models)}"
        raise CommandError(
            f"{file} was trained for {family.name}, of which the catalogue {names}; name a model with --model."
        )
    return models[0]


def _fits(model: "Model", family: LoraFamily, settings: "Settings") -> bool | None:
    """Whether a model is of a family; None if its files are not here."""
    folder = settings.models_dir / (model.config or model.source)
    if not (folder / "model_index.json").is_file():
        return None
    name = class_name(folder).removesuffix("Pipeline")
    for task in ("Img2Img", "Inpaint", "Fill", "Kontext", "Control"):
        name = name.removesuffix(task)
    if name != family.pipeline:
        return False
    return family.width is None or _text_width(folder) in (family.width, None)


def _text_width(folder: Path) -> int | None:
    try:
        width = json.loads((folder / "unet" / "config.json").read_text("utf-8")).get("cross_attention_dim")
    except (OSError, ValueError, AttributeError):
        return None
    return width if isinstance(width, int) else None
