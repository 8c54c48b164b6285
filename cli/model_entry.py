"""The catalogue entry of a diffusers model: what its family needs, and what its own files say."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.errors import CommandError
from cli.packages import install_command
from core.weights import count_numbers

if TYPE_CHECKING:
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
    options: Mapping[str, Any]


FAMILIES: Mapping[str, Family] = {
    "StableDiffusionPipeline": Family(SMALL, 30, 7.5, {}),
    "StableDiffusionXLPipeline": Family(LARGE, 30, 7.0, {}),
    "StableDiffusion3Pipeline": Family(LARGE, 28, 4.5, {}),
    "FluxPipeline": Family(LARGE, 28, 3.5, {"max_sequence_length": 512}),
    "Flux2KleinPipeline": Family(LARGE, 4, 1.0, {}),
    "QwenImagePipeline": Family(LARGE, 50, 1.0, {"true_cfg_scale": 4.0}),
    "ZImagePipeline": Family(LARGE, 9, 0.0, {}),
    "ChromaPipeline": Family(LARGE, 40, 3.0, {}),
    "SanaPipeline": Family(LARGE, 20, 4.5, {}),
    "PixArtAlphaPipeline": Family(LARGE, 20, 4.5, {}),
    "PixArtSigmaPipeline": Family(LARGE, 20, 4.5, {}),
    "Lumina2Pipeline": Family(LARGE, 50, 4.0, {}),
    "AuraFlowPipeline": Family(LARGE, 50, 3.5, {}),
}
EDITS = ("StableDiffusion", "Flux", "QwenImage", "ZImage", "Chroma")
"""Families for which diffusers has an image-to-image pipeline over the same weights."""

_LICENCE = re.compile(r"^license(?:_name)?:\s*(\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Entry:
    """The entry of a model, and what to know about it."""

    model_id: str
    toml: str
    notes: Sequence[str]


def entry_of(source: str, model_id: str | None, settings: "Settings") -> Entry:
    """The entry of a directory or of a model of the hub. Raises CommandError."""
    folder = _folder(source, settings)
    name = _class_name(folder)
    family, notes = FAMILIES.get(name), []
    if family is None:
        family = Family(("1024x1024",), 30, 5.0, {})
        notes.append(f"sizes, steps and guidance_scale are guesses: nothing is known here about {name}")
    steps, guidance_scale = family.steps, family.guidance_scale
    if name == "FluxPipeline" and not _config(folder, "transformer").get("guidance_embeds", True):
        steps, guidance_scale = 4, 0.0  # schnell: distilled, without guidance
    operations = ["generation", "edit"] if name.startswith(EDITS) else ["generation"]
    identifier = model_id or re.sub(r"[^A-Za-z0-9._-]+", "-", Path(source).name).strip("-").lower()
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}", identifier):
        raise CommandError(f"{identifier!r} is no name for a model; choose another with --id.")
    numbers = sum(count_numbers(path) for path in folder.glob("*/*.safetensors") if path.name.count(".") == 1)
    notes.append(f"weights: {numbers / 1e9:.2f} billion numbers, {2 * numbers / 2**30:.1f} GiB in half precision")
    licence = _licence(folder)
    if not licence:
        notes.append("no licence was found in its README: look it up before you use the images")
    values: dict[str, object] = {
        "id": identifier,
        "generator": "diffusers_local",
        "source": source if not Path(source).is_dir() else str(Path(source).absolute()),
        "description": f"{name} of diffusers.",
        "licence": licence,
        "operations": operations,
        "sizes": list(family.sizes),
        "steps": {"default": steps, "min": 1, "max": max(100, steps)},
        "guidance_scale": {"default": guidance_scale, "min": 0.0, "max": max(20.0, guidance_scale)},
        "microbatch_size": 4 if numbers < 4e9 else 1,
        "seconds_per_image": round(max(1.0, numbers / 1e9 * steps / 30), 1),
    }
    if family.sizes in FREE:
        values["free_sizes"] = FREE[family.sizes]
    if family.options:
        values["options"] = family.options
    text = "\n".join(["[[models]]", *(f"{key} = {_toml(value)}" for key, value in values.items())])
    if not _is_unicode(text):
        raise CommandError(f"{source!r} has a name that is not UTF-8, as the catalogue must be; rename the directory.")
    notes.append("seconds_per_image is a guess until `safelight bench model` has measured it")
    return Entry(identifier, text, notes)


def _folder(source: str, settings: "Settings") -> Path:
    for folder in (Path(source), settings.models_dir / source):
        if folder.is_dir():
            return folder
    if Path(source).is_file():
        raise CommandError(
            f"{source} is a single file. Convert it to a directory first: "
            "StableDiffusionXLPipeline.from_single_file(...).save_pretrained(...) of diffusers."
        )
    if source.count("/") != 1 or source.startswith((".", "/")):
        raise CommandError(f"There is no directory {source}, and it is no id of the hub (owner/name).")
    try:
        from huggingface_hub import hf_hub_download

        for name in ("README.md", "model_index.json"):
            path = Path(hf_hub_download(source, name))
    except ModuleNotFoundError:
        raise CommandError(f"A model of the hub needs torch's packages: {install_command('worker')}") from None
    except Exception as error:  # the hub's client and its transport raise errors of many kinds
        raise CommandError(f"{source} could not be read from the hub ({type(error).__name__}).") from None
    return path.parent


def _class_name(folder: Path) -> str:
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


def _toml(value: object) -> str:
    """A TOML value. JSON's texts, numbers, booleans and lists are TOML too, but for the character DEL in texts."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
