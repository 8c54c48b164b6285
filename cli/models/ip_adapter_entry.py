"""The catalogue entry of an IP-Adapter: which model it belongs to, where its file goes, and its image encoder."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.errors import CommandError
from cli.models.lora_entry import FileEntry, destination, model_for, name_of
from core.model_files.loras import ip_adapter_family_of, is_ip_adapter
from core.model_files.weights import read_shapes

if TYPE_CHECKING:
    from core.catalog import Catalog
    from core.settings import Settings

FOLDER = "ip_adapters"
"""In models_dir: where the file of an IP-Adapter is copied to, if it is outside."""


def is_ip_adapter_file(path: Path) -> bool:
    """Whether a path leads to a file with the tensors of an IP-Adapter."""
    try:
        return path.is_file() and is_ip_adapter(read_shapes(path))
    except (OSError, ValueError):
        return False


def ip_adapter_entry_of(
    file: Path,
    name: str | None,
    model_id: str | None,
    image_encoder: Path | None,
    catalog: "Catalog",
    settings: "Settings",
) -> FileEntry:
    """The entry of an IP-Adapter. name: in requests; model_id: of its model; image_encoder: its folder in models_dir.

    Without a folder, it is that of the model's other adapters, or `image_encoder` beside the file. Raises CommandError.
    """
    family = ip_adapter_family_of(read_shapes(file))
    model = model_for(file, family, model_id, catalog, settings)
    name = name or name_of(file)
    if name in (adapter.name for adapter in model.ip_adapters):
        raise CommandError(f"The model {model.id} has an IP-Adapter {name} already; choose another name with --id.")
    copy_to, place = destination(file, FOLDER, settings.models_dir)
    models_dir = settings.models_dir.resolve()
    beside = file.resolve().parent / "image_encoder"
    folder = image_encoder or (beside if beside.is_dir() and not model.ip_adapters else None)
    if folder is None and not model.ip_adapters:
        raise CommandError(
            f"{file} needs its image encoder: a folder with config.json and safetensors in {models_dir}; name it with "
            "--image-encoder."
        )
    encoder = model.ip_adapters[0].image_encoder if folder is None else _in_models_dir(folder, models_dir)
    values: dict[str, Any] = {"name": name, "file": place, "image_encoder": encoder}
    return FileEntry("ip_adapters", model.id, values, file, copy_to, [])


def _in_models_dir(folder: Path, models_dir: Path) -> str:
    """The place of a folder in models_dir. Raises CommandError."""
    path = folder.resolve() if folder.is_dir() else (models_dir / folder).resolve()
    if not (path / "config.json").is_file():
        raise CommandError(f"{folder} is no image encoder: there is no {path / 'config.json'}.")
    if not path.is_relative_to(models_dir):
        raise CommandError(f"The image encoder {folder} must be in {models_dir}; copy the folder there.")
    return path.relative_to(models_dir).as_posix()
