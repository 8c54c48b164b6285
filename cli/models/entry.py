"""The catalogue entry of a diffusers model: what its family needs, and what its own files say.

The model is a directory, a repository of the hub, or a checkpoint: one safetensors file.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.errors import CommandError
from cli.packages import install_command
from core.model_files.checkpoints import CheckpointFamily, family_of, has_all_parts
from core.model_files.control_networks import control_type_of
from core.model_files.weights import PICKLES, count_numbers, read_shapes
from core.parameters.job import MAX_CLIP_SKIP

if TYPE_CHECKING:
    from core.catalog import Catalog
    from core.settings import Settings

SMALL = ("512x512", "512x768", "768x512")
LARGE = ("1024x1024", "832x1216", "1216x832", "1152x896", "896x1152", "1344x768", "768x1344")
"""About a megapixel each, as the models of this size were trained."""

FREE: Mapping[Sequence[str], Mapping[str, int]] = {
    SMALL: {"multiple": 8, "min_side": 256, "max_side": 1024, "min_pixels": 256 * 256, "max_pixels": 768 * 1024},
    LARGE: {"multiple": 32, "min_side": 512, "max_side": 2048, "min_pixels": 512 * 512, "max_pixels": 1536 * 1024},
}
"""Bounds of further sizes, which suit the autoencoders of all families here."""


@dataclass(frozen=True, slots=True)
class Family:
    """What the pipelines of a family have in common: the values that its authors' model cards give."""

    sizes: Sequence[str]
    steps: int
    guidance_scale: float
    options: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, object] = field(default_factory=dict)
    tiling: bool = False


_CLIP_SKIP: dict[str, Mapping[str, Any]] = {"clip_skip": {}}
"""Its `max` is that of the text encoders."""
_TEXT_ENCODERS = ("text_encoder", "text_encoder_2")
_TWO_PROMPTS: dict[str, Mapping[str, Any]] = {"prompt_2": {}, "negative_prompt_2": {}}

FAMILIES: Mapping[str, Family] = {
    "StableDiffusionPipeline": Family(SMALL, 30, 7.5, parameters=_CLIP_SKIP, tiling=True),
    "StableDiffusionInpaintPipeline": Family(SMALL, 30, 7.5, parameters=_CLIP_SKIP, tiling=True),
    "StableDiffusionXLPipeline": Family(LARGE, 30, 7.0, parameters=_CLIP_SKIP | _TWO_PROMPTS, tiling=True),
    "StableDiffusionXLImg2ImgPipeline": Family(LARGE, 30, 7.0, parameters=_CLIP_SKIP | _TWO_PROMPTS, tiling=True),
    "StableDiffusionXLInpaintPipeline": Family(LARGE, 30, 7.0, parameters=_CLIP_SKIP | _TWO_PROMPTS, tiling=True),
    "StableDiffusion3Pipeline": Family(
        LARGE, 28, 4.5, parameters=_CLIP_SKIP | _TWO_PROMPTS | {"max_sequence_length": {"max": 512}}
    ),
    "FluxPipeline": Family(
        LARGE,
        28,
        3.5,
        {"max_sequence_length": 512},
        {"true_cfg_scale": {"max": 10.0}, "max_sequence_length": {"max": 512}} | _TWO_PROMPTS,
    ),
    "FluxControlPipeline": Family(LARGE, 30, 10.0, {"max_sequence_length": 512}),
    "Flux2KleinPipeline": Family(LARGE, 4, 1.0),
    "QwenImagePipeline": Family(LARGE, 50, 4.0),
    "ZImagePipeline": Family(LARGE, 9, 0.0),
    "ChromaPipeline": Family(LARGE, 40, 3.0),
    "SanaPipeline": Family(LARGE, 20, 4.5),
    "PixArtAlphaPipeline": Family(LARGE, 20, 4.5),
    "PixArtSigmaPipeline": Family(LARGE, 20, 4.5),
    "Lumina2Pipeline": Family(LARGE, 50, 4.0),
    "AuraFlowPipeline": Family(LARGE, 50, 3.5),
}
ONLY_EDITS = ("StableDiffusionInpaintPipeline", "StableDiffusionXLInpaintPipeline", "StableDiffusionXLImg2ImgPipeline")
"""Pipelines that cannot start without an image."""
READ_CONTROL_IMAGES = ("FluxControlPipeline", "CogView4ControlPipeline")
"""Pipelines whose denoiser reads a control image beside the latents, so that they draw with one only."""
EDITS = ("StableDiffusion", "Flux", "QwenImage", "ZImage", "Chroma")
"""Families for which diffusers has an image-to-image pipeline over the same weights."""

_HUB_FILES = ["README.md", "model_index.json", "text_encoder*/config.json", "transformer/config.json"]
_LICENCE = re.compile(r"^license(?:_name)?:\s*(\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Entry:
    """The entry of a model, and what to know about it."""

    model_id: str
    toml: str
    notes: Sequence[str]


@dataclass(frozen=True, slots=True)
class Source:
    """A model to be added.

    name: of the pipeline's class; folder: with its configuration; places: the fields that say where it is;
    numbers: of all its weights.
    """

    name: str
    folder: Path
    places: Mapping[str, str]
    numbers: int


def entry_of(source: str, model_id: str | None, config: str | None, catalog: "Catalog", settings: "Settings") -> Entry:
    """The entry of a directory, of a model of the hub, or of a checkpoint. Raises CommandError."""
    model = _checkpoint(Path(source), config, catalog, settings) if Path(source).is_file() else None
    return _entry(source, model or _pipeline(source, settings), model_id)


def _pipeline(source: str, settings: "Settings") -> Source:
    folder = _folder(source, settings)
    numbers = sum(count_numbers(path) for path in folder.glob("*/*.safetensors") if path.name.count(".") == 1)
    place = source if not Path(source).is_dir() else str(Path(source).absolute())
    return Source(class_name(folder), folder, {"source": place}, numbers)


def _entry(source: str, model: Source, model_id: str | None) -> Entry:
    name, folder, numbers = model.name, model.folder, model.numbers
    family, notes = FAMILIES.get(name), []
    if family is None:
        family = Family(("1024x1024",), 30, 5.0, {})
        notes.append(f"sizes, steps and guidance_scale are guesses: nothing is known here about {name}")
    steps, guidance_scale, max_guidance_scale = family.steps, family.guidance_scale, max(20.0, family.guidance_scale)
    if name == "FluxPipeline" and not _config(folder, "transformer").get("guidance_embeds", True):
        steps, guidance_scale, max_guidance_scale = 4, 0.0, 0.0  # schnell: distilled, without guidance
    if name == "Flux2KleinPipeline" and _is_distilled(folder):
        max_guidance_scale = guidance_scale
    operations = ["generation", "edit"] if name.startswith(EDITS) else ["generation"]
    notes.append(f"weights: {numbers / 1e9:.2f} billion numbers, {2 * numbers / 2**30:.1f} GiB in half precision")
    licence = _licence(folder) if "config" not in model.places else ""
    if not licence:
        notes.append("no licence was found: look it up before you use the images")
    values: dict[str, object] = {
        "id": _identifier(source, model_id),
        "generator": "diffusers_local",
        **model.places,
        "description": f"{name} of diffusers.",
        "licence": licence,
        "operations": ["edit"] if name in ONLY_EDITS else operations,
        "sizes": list(family.sizes),
        "steps": {"default": steps, "min": 1, "max": max(100, steps)},
        "guidance_scale": {"default": guidance_scale, "min": 0.0, "max": max_guidance_scale},
        "microbatch_size": 4 if numbers < 4e9 else 1,
        "seconds_per_image": round(max(1.0, numbers / 1e9 * steps / 30), 1),
    }
    if family.sizes in FREE:
        values["free_sizes"] = FREE[family.sizes]
    if parameters := _parameters(family, folder, notes):
        values["parameters"] = parameters
    if family.tiling:
        values["tiling"] = True
    if name in READ_CONTROL_IMAGES:
        values["controls"] = [{"type": control_type_of(str(values["id"]))}]
        notes.append("it generates only with a control image, of the type in `controls`")
    if family.options:
        values["options"] = family.options
    text = "\n".join(["[[models]]", *(f"{key} = {toml_value(value)}" for key, value in values.items())])
    if not _is_unicode(text):
        raise CommandError(f"{source!r} has a name that is not UTF-8, as the catalogue must be; rename it.")
    notes.append("seconds_per_image is a guess until `safelight bench model` has measured it")
    return Entry(str(values["id"]), text, notes)


def _identifier(source: str, model_id: str | None) -> str:
    name = Path(source).name.removesuffix(".safetensors")
    identifier = model_id or re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-").lower()
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}", identifier):
        raise CommandError(f"{identifier!r} is no name for a model; choose another with --id.")
    return identifier


def _checkpoint(file: Path, config: str | None, catalog: "Catalog", settings: "Settings") -> Source:
    """A checkpoint, and where its configuration comes from. Raises CommandError."""
    if file.suffix in PICKLES:
        raise CommandError(f"{file} may be a pickle, which can run code when it is loaded; only .safetensors are read.")
    try:
        shapes = read_shapes(file)
    except ValueError as error:
        raise CommandError(f"{error}.") from None
    if (family := family_of(shapes)) is None:
        raise CommandError(f"{file} is of no family that is known here: none of its {len(shapes)} tensors tells one.")
    place = config or _config_in_catalog(family, catalog, settings) or family.config
    folder = _folder(place, settings, config_of=family)
    name = class_name(folder)
    if name != family.pipeline:
        raise CommandError(f"{file} is {family.name} ({family.pipeline}), but its config {place} is {name}.")
    numbers = sum(prod(shape) for shape in shapes.values())
    if not has_all_parts(shapes):
        files = [path for path in folder.glob("*/*.safetensors") if path.parent.name not in ("transformer", "unet")]
        other_numbers = sum(count_numbers(path) for path in files if path.name.count(".") == 1)
        numbers += other_numbers
        if not other_numbers:
            raise CommandError(
                f"{file} has the denoiser only; its config {place} must be the whole pipeline of {family.name}, with "
                "the weights of its text encoders and autoencoder. Name its directory with --config."
            )
    config = str(folder.absolute()) if (settings.models_dir / place).is_dir() or Path(place).is_dir() else place
    return Source(name, folder, {"source": str(file.absolute()), "config": config}, numbers)


def _config_in_catalog(family: CheckpointFamily, catalog: "Catalog", settings: "Settings") -> str | None:
    """The directory of a model of the same family that the catalogue has already."""
    for model in catalog.models:
        place = model.config or model.source
        path = settings.models_dir / place / "model_index.json"
        if model.generator == "diffusers_local" and path.is_file() and class_name(path.parent) == family.pipeline:
            return place
    return None


def _folder(source: str, settings: "Settings", config_of: CheckpointFamily | None = None) -> Path:
    """The directory of a pipeline; of a model of the hub, the directory in its cache. config_of: for a checkpoint."""
    for folder in (Path(source), settings.models_dir / source):
        if folder.is_dir():
            return folder
    if source.count("/") != 1 or source.startswith((".", "/")):
        raise CommandError(f"There is no directory {source}, and it is no id of the hub (owner/name).")
    try:
        from huggingface_hub import snapshot_download

        if config_of is not None:
            return Path(snapshot_download(source, allow_patterns=["*.json", "*.txt", "*.model"]))
        return Path(snapshot_download(source, allow_patterns=_HUB_FILES))
    except ModuleNotFoundError:
        raise CommandError(f"A model of the hub needs torch's packages: {install_command('worker')}") from None
    except Exception as error:  # the hub's client and its transport raise errors of many kinds
        reason = f"{source} could not be read from the hub ({type(error).__name__})."
        if config_of is not None:
            reason = (
                f"The checkpoint is {config_of.name}; its configuration {reason} Name the directory of a diffusers "
                "pipeline of this family with --config: its .json and .txt files are enough."
            )
        raise CommandError(reason) from None


def class_name(folder: Path) -> str:
    """The class of the pipeline in a directory. Raises CommandError."""
    path = folder / "model_index.json"
    try:
        name = json.loads(path.read_text("utf-8"))["_class_name"]
    except FileNotFoundError:
        raise CommandError(f"{folder} is no diffusers pipeline: it has no model_index.json.") from None
    except (ValueError, KeyError, TypeError):
        raise CommandError(f"{path} is not valid: it names no _class_name.") from None
    if not isinstance(name, str):
        raise CommandError(f"{path} asks for code of its own, which is never run.")
    return name


def _parameters(family: Family, folder: Path, notes: list[str]) -> Mapping[str, object]:
    """The optional parameters. `clip_skip` goes as far as the text encoders; without their configuration it is none."""
    parameters = dict(family.parameters)
    if "clip_skip" in parameters:
        configs = [_config(folder, name) for name in _TEXT_ENCODERS]
        layers = [config.get("num_hidden_layers") for config in configs if config.get("model_type") == "clip_text_model"]
        highest = min((count - 1 for count in layers if isinstance(count, int)), default=0)
        if highest > 0:
            parameters["clip_skip"] = {"max": min(highest, MAX_CLIP_SKIP)}
        else:
            del parameters["clip_skip"]
            notes.append("clip_skip is left out: no config.json of a text encoder says how many layers it has")
    return parameters


def _is_distilled(folder: Path) -> bool:
    """Whether model_index.json says that the model was distilled to one guidance scale."""
    return bool(json.loads((folder / "model_index.json").read_text("utf-8")).get("is_distilled"))


def _config(folder: Path, component: str) -> Mapping[str, Any]:
    try:
        config = json.loads((folder / component / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def _licence(folder: Path) -> str:
    """The licence that the front matter of a model card names."""
    try:
        head = (folder / "README.md").read_text("utf-8", "replace")[:4096]
    except OSError:
        return ""
    names = _LICENCE.findall(head)
    return names[-1].strip("\"'") if names else ""


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def toml_value(value: object) -> str:
    """A TOML value. JSON's texts, numbers, booleans and lists are TOML too, but for the character DEL in texts."""
    if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        return f"[{', '.join(toml_value(item) for item in value)}]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {toml_value(item)}" for key, item in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
