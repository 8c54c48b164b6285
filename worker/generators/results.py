"""Checks what a pipeline returned, image by image: broken numbers, a verdict of its safety checker, a wrong size.

A broken model must not give a black image that passes for a result. Its numbers tell, not its colours: a black image
of a healthy model is finite. diffusers clips the decoder's output to 0..1, which turns an infinity into black or white,
so the output of the decoder itself is checked.
"""

from collections.abc import Sequence
from typing import Any, Final, Self

import numpy
import torch
from PIL import Image

from core.generation import ImageRequest, ImagesRejected
from core.generation_errors import ContentPolicyViolation, GenerationError, GeneratorFailed
from worker.generators.denoiser import denoisers
from worker.generators.mask import paste
from worker.generators.upscalers import grid_of

_VERDICTS: Final = ("nsfw_content_detected", "nsfw_detected")  # the latter of DeepFloyd IF
_AUTOENCODERS: Final = ("vae", "movq", "vqgan")  # the latter two of Kandinsky and Stable Cascade
_NOT_NUMBERS: Final = "The pipeline returned pixels that are not numbers (NaN or infinity)."


class DecoderWatch:
    """Remembers which images of one call left the decoder with NaN or infinity. A context manager.

    Previews are decoded between the steps, so only what is decoded after the last step counts.
    """

    def __init__(self, pipe: Any) -> None:
        autoencoder = next((pipe.components[name] for name in _AUTOENCODERS if pipe.components.get(name)), None)
        decoder = getattr(autoencoder, "decoder", None)
        self._decoder = decoder if isinstance(decoder, torch.nn.Module) else None
        self._denoisers = denoisers(pipe)
        self._finite: list[torch.Tensor] = []
        self._handles: list[Any] = []

    def __enter__(self) -> Self:
        if self._decoder is not None:
            self._handles = [module.register_forward_pre_hook(self._reset) for module in self._denoisers]
            self._handles.append(self._decoder.register_forward_hook(self._check))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def is_broken(self, index: int, count: int) -> bool:
        """Whether image `index` of `count` is broken. A decoder that works in tiles or slices names no image."""
        finite = [bool(flag) for flags in self._finite for flag in flags]
        return not (finite[index] if len(finite) == count else all(finite))

    def _reset(self, *_: object) -> None:
        self._finite.clear()

    def _check(self, module: torch.nn.Module, arguments: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor):
            self._finite.append(output.isfinite().flatten(1).all(1))


def checked_images(output: Any, requests: Sequence[ImageRequest], watch: DecoderWatch) -> list[Image.Image]:
    """The images of a pipeline's output, whose `images` are (N, H, W, 3) in [0, 1].

    Raises ImagesRejected if some are unusable, or GenerationError for a fault of the call as a whole.
    """
    pixels = getattr(output, "images", None)
    if pixels is None:
        pixels = getattr(output, "image", None)  # of Kandinsky 5
    if not isinstance(pixels, numpy.ndarray) or pixels.ndim != 4 or pixels.shape[-1] != 3:
        raise GeneratorFailed(f"The pipeline returned no RGB images but {getattr(pixels, 'shape', type(pixels))}.")
    if len(pixels) != len(requests):
        raise GeneratorFailed(f"The pipeline returned {len(pixels)} images instead of {len(requests)}.")
    height, width = pixels.shape[1:3]
    if (width, height) != (requests[0].width, requests[0].height):
        raise GenerationError(f"The model generates {width}x{height}, not {requests[0].width}x{requests[0].height}.")
    verdicts = _verdicts(output, len(requests))
    results: list[Image.Image | GenerationError] = []
    for index, request in enumerate(requests):
        if watch.is_broken(index, len(requests)) or not numpy.isfinite(pixels[index]).all():
            results.append(GeneratorFailed(_NOT_NUMBERS))
        elif verdicts[index]:
            results.append(ContentPolicyViolation("The safety checker of the model rejects the image."))
        else:
            image = Image.fromarray((pixels[index].clip(0, 1) * 255).round().astype("uint8"))
            results.append(_within_mask(image, request))
    images = [result for result in results if isinstance(result, Image.Image)]
    if len(images) < len(results):
        raise ImagesRejected(results)
    return images


def checked_latents(pipe: Any, output: Any, requests: Sequence[ImageRequest]) -> list[torch.Tensor]:
    """The latents (C, H, W) that a pipeline returned instead of images. Raises ImagesRejected for broken ones."""
    grid = grid_of(pipe, output.images, requests[0].width, requests[0].height)
    results = [latents if bool(latents.isfinite().all()) else GeneratorFailed(_NOT_NUMBERS) for latents in grid]
    tensors = [result for result in results if isinstance(result, torch.Tensor)]
    if len(tensors) < len(requests):
        raise ImagesRejected(results)
    return tensors


def _verdicts(output: Any, count: int) -> list[bool]:
    """Of each image, whether the pipeline's own safety checker rejects it."""
    flags = next((flags for name in _VERDICTS if (flags := getattr(output, name, None)) is not None), None)
    return [False] * count if flags is None else [bool(flag) for flag in flags]


def _within_mask(image: Image.Image, request: ImageRequest) -> Image.Image:
    if request.image is None or request.mask is None:
        return image
    return paste(image, request.image, request.mask)
