"""The catalogue entry of a control network: which model it fits, its type, and where its folder or file goes."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.errors import CommandError
from cli.models.lora_entry import FileEntry, destination, model_for
from cli.models.entry import class_name
from core.model_files.control_networks import KINDS, Denoiser, control_type_of, describe, family_and_task, misfit, mode_count
from core.model_files.loras import control_lora_inputs, lora_family_of
from core.model_files.weights import read_shapes

if TYPE_CHECKING:
    from core.catalog import Catalog, Model
    from core.settings import Settings

FOLDER = "controls"
"""In models_dir: where the folder of a control network is copied to, if it is outside."""
_WEIGHTS = "diffusion_pytorch_model.safetensors"
_TAKES_CONTROL_LORA = "FluxPipeline"
_FLUX_CHANNELS = 64


@dataclass(frozen=True, slots=True)
class _Network:
    folder: Path
    name: str
    config: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.folder} is {describe(self.name, self.config)}"


def network_folder(source: str, settings: "Settings") -> Path | None:
    """The folder of a network of diffusers, of whatever kind; None if the source is something else."""
    folder = next((folder for folder in (Path(source), settings.models_dir / source) if folder.is_dir()), None)
    if folder is None or (folder / "model_index.json").exists() or "_class_name" not in _config(folder):
        return None
    return folder


def control_entry_of(
    folder: Path, kind: str | None, mode: int | None, model_id: str | None, catalog: "Catalog", settings: "Settings"
) -> FileEntry:
    """The entry of a control network. kind: its type in requests; model_id: of its model. Raises CommandError."""
    network = _network(folder)
    _check_mode(network, mode)
    model, notes = _model_for(network, model_id, catalog, settings)
    kind = _new_type(kind or control_type_of(folder.resolve().name), model)
    if required := model.required_controls:
        raise CommandError(f"{model.id} reads its control image ({required[0].type}) itself: it takes no network.")
    copy_to, place = _destination(folder, settings.models_dir)
    values: dict[str, Any] = {"type": kind, "source": place}
    if mode is not None:
        values["mode"] = mode
    return FileEntry("controls", model.id, values, folder, copy_to, notes)


def control_lora_entry_of(
    file: Path, kind: str | None, model_id: str | None, catalog: "Catalog", settings: "Settings"
) -> FileEntry | None:
    """The entry of a Control-LoRA of FLUX.1; None if the file is a LoRA of another kind. Raises CommandError."""
    shapes = read_shapes(file)
    inputs = control_lora_inputs(shapes)
    if inputs is None:
        return None
    model = model_for(file, lora_family_of(shapes), model_id, catalog, settings)
    folder = settings.models_dir / (model.config or model.source)
    if inputs != 2 * _config(folder / "transformer").get("in_channels", _FLUX_CHANNELS):
        return None
    name = class_name(folder) if (folder / "model_index.json").is_file() else _TAKES_CONTROL_LORA
    if name != _TAKES_CONTROL_LORA:
        raise CommandError(f"{file} is a Control-LoRA for {_TAKES_CONTROL_LORA}, but {model.id} is {name}.")
    if model.controls:
        raise CommandError(
            f"{file} is a Control-LoRA, after which {model.id} draws only with its images; {model.id} has the control "
            f"{model.controls[0].type} already. Add the model a second time for it."
        )
    copy_to, place = destination(file, FOLDER, settings.models_dir)
    values = {"type": _new_type(kind or control_type_of(file.stem), model), "source": place}
    note = f"{model.id} draws only with a control image then; add the plain model under another id for images without"
    return FileEntry("controls", model.id, values, file, copy_to, [note])


def _network(folder: Path) -> _Network:
    """The control network in a folder. Raises CommandError if it is another kind of network."""
    config = _config(folder)
    name = config["_class_name"]
    if name not in KINDS:
        raise CommandError(
            f"{folder} is a {name}: no pipeline, and none of the control networks that can be used: {', '.join(KINDS)}."
        )
    if not any((folder / file).is_file() for file in (_WEIGHTS, f"{_WEIGHTS}.index.json")):
        raise CommandError(f"{folder} has no {_WEIGHTS}; pickles and other variants are not loaded.")
    return _Network(folder, name, config)


def _check_mode(network: _Network, mode: int | None) -> None:
    count = mode_count(network.name, network.config)
    if count is None and mode is not None:
        raise CommandError(f"{network}, which is no union of several networks: it has no --mode.")
    if count is not None and (mode is None or mode >= count):
        raise CommandError(
            f"{network}, one network for {count} kinds of control images: give the number of a kind, from 0 to "
            f"{count - 1}, with --mode, and its type with --id."
        )


def _model_for(
    network: _Network, model_id: str | None, catalog: "Catalog", settings: "Settings"
) -> tuple["Model", Sequence[str]]:
    """The model that a network is added to, and what to know about that: the named one, or the only one that fits."""
    local_models = [model for model in catalog.models if model.generator == "diffusers_local"]
    reasons = {model.id: _misfit(network, model, settings) for model in local_models}
    fitting = [model for model in local_models if reasons[model.id] is None]
    names = ", ".join(model.id for model in fitting) or "none"
    if model_id is not None:
        model = next((model for model in local_models if model_id in (model.id, *model.aliases)), None)
        if model is None:
            raise CommandError(f"{network}; there is no model {model_id} that could use it. It fits: {names}.")
        reason = reasons[model.id]
        if reason:
            raise CommandError(f"{network}, which does not fit {model.id}: {reason}. It fits: {names}.")
        unknown = f"the configuration of {model.id} is not here; `safelight models check` tells if the network fits"
        return model, [] if reason is None else [unknown]
    if len(fitting) > 1:
        raise CommandError(f"{network}, which fits {names}; name one with --model.")
    if not fitting:
        text = "; ".join(f"{name}: {reason}" for name, reason in reasons.items() if reason)
        raise CommandError(f"{network}; it fits no model of the catalogue{f' ({text})' if text else ''}.")
    return fitting[0], []


def _misfit(network: _Network, model: "Model", settings: "Settings") -> str | None:
    """Why a network does not fit a model; None if it does, and "" if the model's files are not here to tell."""
    folder = settings.models_dir / (model.config or model.source)
    if not (folder / "model_index.json").is_file():
        return ""
    pipeline = class_name(folder)
    index = _read_object(folder / "model_index.json")
    part = next((part for part in ("transformer", "unet") if index.get(part)), "")
    denoiser = index[part][-1] if part else None
    if reason := misfit(network.name, network.config, Denoiser(str(denoiser), _config(folder / part), pipeline)):
        return reason
    family = family_and_task(pipeline)
    if family is None or family[0] not in KINDS[network.name].pipelines:
        return f"diffusers has no pipeline of {pipeline} with a {network.name}"
    return None


def _new_type(kind: str, model: "Model") -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,31}", kind):
        raise CommandError(f"{kind!r} is no type of control images; choose one such as canny with --id.")
    if kind in (control.type for control in model.controls):
        raise CommandError(f"The model {model.id} has a control {kind} already; choose another type with --id.")
    return kind


def _destination(folder: Path, models_dir: Path) -> tuple[Path | None, str]:
    """As `destination`. A folder that was copied before is not copied again: a union network has several entries."""
    folder = folder.resolve()
    copy = models_dir.resolve() / FOLDER / folder.name
    if copy.is_dir() and _sizes(copy) == _sizes(folder):
        return None, f"{FOLDER}/{folder.name}"
    return destination(folder, FOLDER, models_dir)


def _sizes(folder: Path) -> Mapping[str, int]:
    return {path.name: path.stat().st_size for path in folder.iterdir() if path.suffix in (".json", ".safetensors")}


def _config(folder: Path) -> Mapping[str, Any]:
    """The configuration of a network; empty if it cannot be read."""
    return _read_object(folder / "config.json")


def _read_object(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
