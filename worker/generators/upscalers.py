"""How the image of a first pass is enlarged: by Lanczos, in the latents, or by a network of the catalogue.

The networks are Swin2SR, which transformers has. Those of ESRGAN's family need spandrel, which needs torchvision, and
that is not among the packages of a worker.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy
import torch
import torch.nn.functional as F  # the name every torch reader knows
from PIL import Image
from torch import Tensor
from transformers import Swin2SRForImageSuperResolution

from core.catalog import Model
from core.errors import first_line
from core.generation_errors import GenerationError, GeneratorFailed, ModelUnavailable
from core.images import decode
from core.model_files.weights import count_numbers
from core.parameters.hires import Hires, Upscaler
from core.parameters.job import dimensions_of
from worker.generators.device_errors import raise_device_error
from worker.generators.digests import folder_sha256

LATENT: Final[dict[str, dict[str, Any]]] = {
    "latent": {"mode": "bilinear"},
    "latent_antialiased": {"mode": "bilinear", "antialias": True},
    "latent_bicubic": {"mode": "bicubic"},
    "latent_bicubic_antialiased": {"mode": "bicubic", "antialias": True},
    "latent_nearest": {"mode": "nearest"},
    "latent_nearest_exact": {"mode": "nearest-exact"},
}
"""By name of the upscaler, the arguments of torch's `interpolate`."""

_TAKES_LATENTS: Final = frozenset(
    {
        "FluxImg2ImgPipeline",
        "StableDiffusion3Img2ImgPipeline",
        "StableDiffusionControlNetImg2ImgPipeline",
        "StableDiffusionImg2ImgPipeline",
        "StableDiffusionXLControlNetImg2ImgPipeline",
        "StableDiffusionXLImg2ImgPipeline",
    }
)
"""Classes that begin with latents if these come as their image; read from the source of diffusers 0.42."""


def takes_latents(pipe: Any) -> bool:
    """Whether an image-to-image pipeline can begin with latents."""
    return type(pipe).__name__ in _TAKES_LATENTS


def grid_of(pipe: Any, latents: Tensor, width: int, height: int) -> Tensor:
    """The latents of a text-to-image pipeline's output as (N, C, H, W). width, height: of the image, in pixels."""
    if latents.ndim == 3:  # FLUX keeps them as a row of patches
        latents = pipe._unpack_latents(latents, height, width, pipe.vae_scale_factor)
    return latents


def enlarge_latents(latents: Tensor, name: str, width: int, height: int, factor: int) -> Tensor:
    """Latents (C, H, W) for an image of width and height, cropped around their centre to its aspect ratio.

    factor: pixels of an image for a number of its latents.
    """
    rows, columns = latents.shape[-2:]
    ratio = width / height
    kept_columns = min(columns, round(rows * ratio))
    kept_rows = min(rows, round(columns / ratio))
    top, left = (rows - kept_rows) // 2, (columns - kept_columns) // 2
    part = latents[None, :, top : top + kept_rows, left : left + kept_columns]
    return F.interpolate(part.float(), (height // factor, width // factor), **LATENT[name])[0].to(latents.dtype)


class Upscalers:
    """The networks of one model that enlarge images."""

    def __init__(self, model: Model, models_dir: Path, device: torch.device, dtype: torch.dtype) -> None:
        """Load them. Raises ModelUnavailable if one is missing or is no such network, OutOfMemory and DeviceFailed."""
        self._model = model
        self._device = device
        self._dtype = dtype
        specs = model.hires.networks if model.hires is not None else ()
        self._networks = {spec.name: self._load(spec, models_dir / spec.source) for spec in specs}
        self._digests = {spec.name: folder_sha256(models_dir / spec.source) for spec in specs}

    @property
    def networks(self) -> Sequence[torch.nn.Module]:
        """All networks, for the memory that they take."""
        return tuple(self._networks.values())

    def digest(self, name: str) -> str | None:
        """The SHA-256 of an upscaler's files; None for one without a network."""
        return self._digests.get(name)

    def enlarge(self, image: Image.Image, hires: Hires) -> Image.Image:
        """The image of a first pass at the size of the second. Raises GenerationError for a network that is gone."""
        width, height = dimensions_of(str(hires.size))
        if hires.upscaler != "lanczos":
            if hires.upscaler not in self._networks:
                raise GenerationError(f"Model {self._model.id} has no upscaler {hires.upscaler!r} any more.")
            image = self._run(self._networks[hires.upscaler], image)
        return decode.fit(image, width, height)

    def _run(self, network: Any, image: Image.Image) -> Image.Image:
        """An image enlarged by a network's factor. Each is alone in its call, so that no other changes it."""
        pixels = torch.from_numpy(numpy.asarray(image, dtype="float32") / 255).permute(2, 0, 1)[None]
        height, width = pixels.shape[-2:]
        window = network.config.window_size
        padding = (0, -width % window, 0, -height % window)
        # Its layers move windows of pixels; the edge is repeated to fill the last ones.
        large = F.pad(pixels, padding, mode="replicate").to(self._device, self._dtype)
        with torch.inference_mode():
            result = network(pixel_values=large).reconstruction[0].float()
        factor = network.config.upscale
        result = result[:, : height * factor, : width * factor]
        if not bool(result.isfinite().all()):
            raise GeneratorFailed("The upscaler returned pixels that are not numbers (NaN or infinity).")
        array = (result.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        return Image.fromarray(array)

    def _load(self, spec: Upscaler, folder: Path) -> Any:
        if not (folder / "config.json").is_file():
            raise self._error(spec, f"there is no {folder / 'config.json'}")
        try:
            network, report = Swin2SRForImageSuperResolution.from_pretrained(
                folder, dtype=self._dtype, use_safetensors=True, local_files_only=True, output_loading_info=True
            )
            if missing := sorted(report["missing_keys"]):
                raise self._error(spec, f"{folder} is no Swin2SR: it has no {missing[0]}")
            return network.eval().to(self._device)
        except ModelUnavailable:
            raise
        except Exception as error:  # a broken folder can make the libraries raise anything
            raise_device_error(error, f"The upscaler {spec.name!r} of model {self._model.id}")
            message = f"{folder} could not be loaded: {type(error).__name__}: {first_line(error)}"
            raise self._error(spec, message) from error

    def _error(self, spec: Upscaler, reason: str) -> ModelUnavailable:
        return ModelUnavailable(f"Model {self._model.id}: the upscaler {spec.name!r} cannot be used: {reason}.")


def estimated_bytes(model: Model, models_dir: Path, dtype: torch.dtype) -> int:
    """The memory that a model's upscalers will take, from the headers of their files."""
    specs = model.hires.networks if model.hires is not None else ()
    files = [path for spec in specs for path in (models_dir / spec.source).glob("*.safetensors")]
    return sum(count_numbers(path) for path in files) * dtype.itemsize
