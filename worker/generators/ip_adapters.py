"""The IP-Adapters of a model: the denoiser reads images that an image encoder has seen, beside the prompt.

An adapter replaces the attention of the denoiser, which all pipelines of a model share. For requests without reference
images the original attention is put back, so they are drawn as if no adapter had ever been there, to the byte. The
image encoders are loaded with the model, an adapter when a request names it; the last used stay.
"""

import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import torch
import transformers
from PIL import Image

from core.catalog import Model
from core.errors import first_line
from core.generation import ImageRequest
from core.generation_errors import GenerationError, ModelUnavailable
from core.model_files.loras import is_ip_adapter
from core.model_files.weights import Shapes, count_numbers, read_shapes
from core.parameters.reference_images import IpAdapterSpec, ReferenceImage
from worker.generators.call import call_parameters
from worker.generators.device_errors import raise_device_error
from worker.generators.digests import file_sha256, folder_sha256

_ENCODERS: Final = {
    "clip": transformers.CLIPVisionModelWithProjection,
    "clip_vision_model": transformers.CLIPVisionModelWithProjection,
    "siglip": transformers.SiglipVisionModel,
    "siglip_vision_model": transformers.SiglipVisionModel,
}
"""By `model_type` of config.json."""
_FACES: Final = ("_lora.", "image_proj.perceiver_resampler.")
"""Parts of names in the files of FaceID, which read the numbers of a face recogniser instead of an image."""


_READERS: Final = ("encoder_hid_proj", "image_proj")
MAX_COMBINATIONS: Final = 4
"""Of adapters that stay loaded. One of Stable Diffusion XL has some 700 MB in float16."""


@dataclass(frozen=True, slots=True)
class _Attention:
    """What adapters change of a denoiser: its attention, and what reads the encoder's output."""

    processors: dict[str, Any]
    projection: Any
    kind: str | None
    image_projection: Any

    @classmethod
    def of(cls, denoiser: Any) -> "_Attention":
        projection, image_projection = (getattr(denoiser, name, None) for name in _READERS)
        kind = getattr(denoiser.config, "encoder_hid_dim_type", None)
        _remove_readers(denoiser)
        attention = cls(dict(denoiser.attn_processors), projection, kind, image_projection)
        attention.apply_to(denoiser)
        return attention

    def apply_to(self, denoiser: Any) -> None:
        _remove_readers(denoiser)
        denoiser.set_attn_processor(dict(self.processors))
        for name, reader in zip(_READERS, (self.projection, self.image_projection), strict=True):
            if hasattr(denoiser, name):
                setattr(denoiser, name, reader)
        if hasattr(denoiser, "encoder_hid_proj"):
            denoiser.config.encoder_hid_dim_type = self.kind

    @property
    def networks(self) -> list[torch.nn.Module]:
        parts = [*self.processors.values(), self.projection, self.image_projection]
        return [part for part in parts if isinstance(part, torch.nn.Module)]


def _remove_readers(denoiser: Any) -> None:
    """Remove what reads the encoder's output: it may have attention of its own, which would be counted."""
    for name in _READERS:
        if hasattr(denoiser, name):
            setattr(denoiser, name, None)


class IpAdapters:
    """The IP-Adapters of one model, of which the last used combinations stay loaded."""

    def __init__(self, model: Model, pipe: Any, models_dir: Path, device: torch.device, dtype: torch.dtype) -> None:
        """Load the image encoders.

        Raises ModelUnavailable if a file is missing or does not fit, OutOfMemory and DeviceFailed.
        """
        self._model = model
        self._models_dir = models_dir
        self._specs = {spec.name: spec for spec in model.ip_adapters}
        self._denoiser = pipe.components.get("transformer") or pipe.components.get("unet")
        if not hasattr(pipe, "load_ip_adapter") or "image_encoder" not in pipe.components:
            raise ModelUnavailable(
                f"Model {model.id}: {type(pipe).__name__} takes no IP-Adapter; remove its `ip_adapters`."
            )
        for spec in model.ip_adapters:
            self._check(spec)
        folders = dict.fromkeys(spec.image_encoder for spec in model.ip_adapters)
        self._encoders = {folder: self._load_encoder(models_dir / folder, device, dtype) for folder in folders}
        self._plain = _Attention.of(self._denoiser)
        self._resident: dict[tuple[str, ...], _Attention] = {}  # the last used comes last
        self._active: tuple[str, ...] = ()
        self._digests: dict[str, str] = {}

    @property
    def networks(self) -> Sequence[torch.nn.Module]:
        """The image encoders and the adapters, for the memory that they take."""
        adapters = [network for attention in self._resident.values() for network in attention.networks]
        return [*(encoder for encoder, _ in self._encoders.values()), *adapters]

    @property
    def digests(self) -> dict[str, str]:
        """What the receipt says of the adapters that are applied now."""
        values: dict[str, str] = {}
        for name in self._active:
            spec = self._specs[name]
            values[f"ip_adapter {name}"] = self._digest(self._models_dir / spec.file)
            values[f"image_encoder {name}"] = self._digest(self._models_dir / spec.image_encoder)
        return values

    def use(self, pipe: Any, request: ImageRequest) -> dict[str, Any]:
        """Apply the adapters of a request, and no others. Returns the arguments of the call. Raises GenerationError."""
        references = adapter_references(request)
        if not references:
            self._remove()
            return {}
        if "ip_adapter_image" not in call_parameters(pipe):
            raise self._error(f"takes no reference image here: {type(pipe).__name__} reads none")
        names = tuple(str(reference.adapter) for reference, _ in references)
        if missing := [name for name in names if name not in self._specs]:
            raise self._error(f"has no IP-Adapter {missing[0]!r} any more")
        has_one = hasattr(pipe, "is_ip_adapter_active")  # Stable Diffusion 3
        if has_one and len(names) > 1:
            raise self._error("reads one reference image by an IP-Adapter, not several")
        folders = {self._specs[name].image_encoder for name in names}
        if len(folders) > 1:
            raise self._error(f"cannot combine {', '.join(names)}: they have different image encoders")
        encoder, processor = self._encoders[folders.pop()]
        pipe.register_modules(image_encoder=encoder, feature_extractor=processor)
        if names in self._resident:
            self._resident[names] = self._resident.pop(names)
            if names != self._active:
                self._resident[names].apply_to(self._denoiser)
                self._active = names
        else:
            self._load(pipe, names)
        weights = [1.0 if reference.weight is None else float(reference.weight) for reference, _ in references]
        pipe.set_ip_adapter_scale(weights if len(weights) > 1 else weights[0])
        images = [image for _, image in references]
        if "negative_ip_adapter_image" in call_parameters(pipe) and not has_one:
            # FLUX's image-to-image would make one for all adapters, and then miss those of the others.
            black = Image.new("RGB", (request.width, request.height))
            return {"ip_adapter_image": images, "negative_ip_adapter_image": [black] * len(images)}
        return {"ip_adapter_image": images[0] if has_one else images}

    def _load(self, pipe: Any, names: tuple[str, ...]) -> None:
        """Load adapters. If there are too many combinations, the one that was not used for the longest time leaves."""
        self._remove()
        if len(self._resident) >= MAX_COMBINATIONS:
            del self._resident[next(iter(self._resident))]
        files = [(self._models_dir / self._specs[name].file).resolve() for name in names]
        for name, path in zip(names, files, strict=True):
            if not path.is_file():  # else diffusers would look for it on the hub
                raise self._error(f"has lost its IP-Adapter {name!r}: there is no {path.name}")
        has_one = hasattr(pipe, "is_ip_adapter_active")
        folders, file_names = [str(path.parent) for path in files], [path.name for path in files]
        try:
            pipe.load_ip_adapter(
                folders[0] if has_one else folders,
                subfolder="" if has_one else [""] * len(files),
                weight_name=file_names[0] if has_one else file_names,
                local_files_only=True,
            )
        except Exception as error:
            self._plain.apply_to(self._denoiser)  # parts of it may be there
            raise_device_error(error, f"The IP-Adapter {names[0]!r} of model {self._model.id}")
            raise self._error(f"cannot use {', '.join(names)}: {type(error).__name__}: {first_line(error)}") from error
        self._resident[names] = _Attention.of(self._denoiser)
        self._active = names

    def _remove(self) -> None:
        """Put the denoiser's own attention back."""
        if self._active:
            self._plain.apply_to(self._denoiser)
            self._active = ()

    def _check(self, spec: IpAdapterSpec) -> None:
        """Check an adapter by the header of its file. Raises ModelUnavailable."""
        path = self._models_dir / spec.file
        if not path.is_file():
            raise self._unavailable(spec.name, f"there is no {path}")
        try:
            shapes = read_shapes(path)
        except ValueError as error:
            raise self._unavailable(spec.name, str(error)) from None
        if (reason := _problem(shapes, self._denoiser)) is not None:
            raise self._unavailable(spec.name, f"{path.name} {reason}")

    def _load_encoder(self, folder: Path, device: torch.device, dtype: torch.dtype) -> tuple[Any, Any]:
        """An image encoder on the device, and the processor of its images.

        Raises ModelUnavailable, OutOfMemory, DeviceFailed.
        """
        try:
            config = json.loads((folder / "config.json").read_text("utf-8"))
            kind = _ENCODERS.get(config.get("model_type"))
        except FileNotFoundError:
            raise self._unavailable(folder.name, f"there is no {folder / 'config.json'}") from None
        except (OSError, ValueError, AttributeError) as error:
            raise self._unavailable(folder.name, f"{folder / 'config.json'} is not valid: {error!r}") from None
        if kind is None:
            raise self._unavailable(folder.name, f"{folder} is no image encoder of CLIP or SigLIP")
        try:
            encoder, report = kind.from_pretrained(
                folder, dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True
            )
            if missing := sorted(report["missing_keys"]):  # they would be random
                raise ValueError(f"its files have no {missing[0]}")
            encoder = encoder.eval().to(device)
        except Exception as error:  # a broken folder can make the libraries raise anything
            raise_device_error(error, f"The image encoder {folder.name} of model {self._model.id}")
            message = f"{folder} could not be loaded: {type(error).__name__}: {first_line(error)}"
            raise self._unavailable(folder.name, message) from error
        return encoder, _processor(folder, encoder)

    def _digest(self, path: Path) -> str:
        key = str(path)
        if key not in self._digests:
            self._digests[key] = folder_sha256(path) if path.is_dir() else f"sha256:{file_sha256(path)}"
        return self._digests[key]

    def _error(self, reason: str) -> GenerationError:
        return GenerationError(f"Model {self._model.id} {reason}.", param="reference_images")

    def _unavailable(self, name: str, reason: str) -> ModelUnavailable:
        return ModelUnavailable(f"Model {self._model.id}: the IP-Adapter {name!r} cannot be used: {reason}.")


def adapter_references(request: ImageRequest) -> list[tuple[ReferenceImage, Image.Image]]:
    """The reference images of a request that IP-Adapters read."""
    references = request.parameters.reference_images
    if references is None:
        return []
    if len(references) != len(request.reference_images):
        raise GenerationError("A reference came without its image.", param="reference_images")
    pairs = zip(references, request.reference_images, strict=True)
    return [(reference, image) for reference, image in pairs if reference.adapter is not None]


def read_by_the_pipeline(request: ImageRequest) -> list[Image.Image]:
    """The reference images of a request that its pipeline reads as further input images."""
    references = request.parameters.reference_images
    if references is None:
        return list(request.reference_images)
    pairs = zip(references, request.reference_images, strict=False)
    return [image for reference, image in pairs if reference.adapter is None]


def adapter_key(request: ImageRequest) -> Hashable:
    """Equal for requests with the same images for the same IP-Adapters, which may share a call."""
    return tuple(
        (reference.adapter, reference.weight, image.size, sha256(image.tobytes()).digest())
        for reference, image in adapter_references(request)
    )


def estimated_bytes(model: Model, models_dir: Path, dtype: torch.dtype) -> int:
    """The memory that a model's image encoders will take, from the headers of their files."""
    folders = {spec.image_encoder for spec in model.ip_adapters}
    files = [path for folder in folders for path in (models_dir / folder).glob("*.safetensors")]
    return sum(count_numbers(path) for path in files) * dtype.itemsize


def _processor(folder: Path, encoder: Any) -> Any:
    """How an encoder's images are scaled: as its folder says, else as CLIP's authors do."""
    kind = transformers.CLIPImageProcessorPil
    if isinstance(encoder, transformers.SiglipVisionModel):
        kind = transformers.SiglipImageProcessorPil
    if (folder / "preprocessor_config.json").is_file():
        return kind.from_pretrained(folder, local_files_only=True)
    size = encoder.config.image_size
    sides = {"height": size, "width": size}
    if isinstance(encoder, transformers.SiglipVisionModel):
        return kind(size=sides)
    return kind(size={"shortest_edge": size}, crop_size=sides)


def _problem(shapes: Shapes, denoiser: Any) -> str | None:
    """Why an adapter cannot be used with a denoiser; None if it can, as far as its file tells."""
    if any(part in name for name in shapes for part in _FACES):
        return "is a FaceID adapter, which needs a face recogniser; use one that reads images"
    if not is_ip_adapter(shapes):
        return "has no tensors of an IP-Adapter (image_proj and ip_adapter)"
    width = next((shape[-1] for name, shape in shapes.items() if name.endswith("to_k_ip.weight")), None)
    expected = getattr(denoiser.config, "cross_attention_dim", None)
    if isinstance(expected, int) and width not in (None, expected):
        return f"was trained for another model (its text embeddings have {width} numbers, not {expected})"
    return None
