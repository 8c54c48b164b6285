"""A generator without a model: images from a hash of prompts and seed, in a millisecond and without torch.

For tests and load tests. A step takes the seconds of the model's option `step_seconds` (default 0). With the option
`faults`, certain words in a prompt cause a failure; they are in FakeGenerator's docstring. Never set it where others
may submit jobs: any of them could end the workers.
"""

import math
import os
import signal
import time
from collections.abc import Hashable, Sequence
from functools import partial
from hashlib import blake2b
from threading import Event
from typing import Final

import PIL
from PIL import Image, ImageDraw

from core.catalog import Model
from core.generation import ImageRequest, Memory, Notice, ProgressReporter
from core.generation_errors import DeviceFailed, GenerationError, GeneratorFailed, OutOfMemory
from core.images import decode
from core.parameters.job import dimensions_of
from core.settings import Settings
from worker.generators.mask import paste

REVISION: Final = "2"  # increased when the image of a prompt and a seed changes


class FakeGenerator:
    """Generates a sky, a sun and hills, with colours and positions from a hash of prompts and seed only.

    For a variation, the hash includes the input image, and for a request with controls these and their images. An edit
    is such an image, blended with the original by the strength. A preview is the image blended with grey.

    With the option `faults`, words in a prompt that affect the whole call:
        [fail]        GeneratorFailed (retryable) after the first step
        [refuse]      a GenerationError that is not retryable, after the first step
        [oom]         OutOfMemory when the call has more than one image
        [oom always]  OutOfMemory however few images the call has
        [break]       DeviceFailed in the middle step, as if the device were broken
        [crash]       kills its own process with SIGKILL in the middle step
        [hang]        waits forever in the middle step
    """

    def __init__(self, model: Model, _settings: Settings | None = None) -> None:
        self._model = model
        self._step_seconds = float(model.options.get("step_seconds", 0.0))
        self._is_broken = model.options.get("broken") is True
        self._is_unequal = model.options.get("unequal") is True
        self._has_faults = model.options.get("faults") is True

    def check(self) -> None:
        """Do nothing: there are no files."""

    def load(self) -> None:
        """Do nothing: there are no weights."""

    def unload(self) -> None:
        """Do nothing: there are no weights."""

    def move_to_ram(self) -> bool:
        """Do nothing: there are no weights."""
        return True

    def memory(self) -> Memory:
        """The bytes of the option `memory`, for tests."""
        return Memory(int(self._model.options.get("memory", 0)), device="cpu")

    def generate(self, requests: Sequence[ImageRequest], reporter: ProgressReporter) -> Sequence[Image.Image]:
        """Generate one image per request; see `core.generation.Generator`."""
        if not requests:
            return []
        prompts = " ".join(request.prompt for request in requests) if self._has_faults else ""
        if "[oom always]" in prompts or ("[oom]" in prompts and len(requests) > 1):
            raise OutOfMemory(f"{len(requests)} images do not fit: the prompt asked for that.")
        if self._is_broken:
            raise DeviceFailed("The catalogue asked for a broken device.")
        steps = requests[0].steps
        reporter.step(0, steps)
        for step in range(1, steps + 1):
            # The sleep stands for the time that a device computes.
            time.sleep(self._step_seconds)
            _misbehave(prompts, step, steps)
            reporter.step(step, steps)
            if step < steps:
                reporter.preview(partial(_previews, requests, step / steps))
        images = [render(request) for request in requests]
        if self._is_unequal and len(images) > 1:
            images = [image.point([min(value + 1, 255) for value in range(256)] * 3) for image in images]
        return images

    def sharing_key(self, request: ImageRequest) -> Hashable | None:
        """See `core.generation.Generator`: no image depends on another request."""
        return ()

    def notices(self, request: ImageRequest) -> Sequence[Notice]:
        """See `core.generation.Generator`."""
        return ()

    def receipt(self) -> dict[str, str]:
        """How the images were generated."""
        return {
            "model": self._model.id,
            "revision": REVISION,
            "pillow": PIL.__version__,
            "device": "cpu",
            "dtype": "uint8",
        }


def _misbehave(prompts: str, step: int, steps: int) -> None:
    """Cause the failure that the prompts name, if this is the step for it."""
    if step == 1 and "[fail]" in prompts:
        raise GeneratorFailed("The prompt asked for a failure.")
    if step == 1 and "[refuse]" in prompts:
        raise GenerationError("The prompt asked to be refused.")
    if step == (steps + 1) // 2 and "[break]" in prompts:
        raise DeviceFailed("The prompt asked for a broken device.")
    if step == (steps + 1) // 2 and "[crash]" in prompts:
        os.kill(os.getpid(), signal.SIGKILL)
    if step == (steps + 1) // 2 and "[hang]" in prompts:
        Event().wait()


def render(request: ImageRequest) -> Image.Image:
    """The image of a request: RGB, in the request's size."""
    image = _landscape(request)
    if (hires := request.parameters.hires) is not None:
        return decode.fit(image, *dimensions_of(hires.size or request.parameters.size))
    if request.image is None or request.strength is None:
        return image
    edit = Image.blend(request.image, image, request.strength)
    return edit if request.mask is None else paste(edit, request.image, request.mask)


def _previews(requests: Sequence[ImageRequest], share: float) -> list[Image.Image]:
    """The images of a call, blended with grey: `share` is the weight of the image."""
    images = [render(request) for request in requests]
    return [Image.blend(Image.new("RGB", image.size, "grey"), image, share) for image in images]


def _landscape(request: ImageRequest) -> Image.Image:
    """Sky, sun and hills for a prompt and a seed, and for the input image of a variation."""
    width, height = request.width, request.height
    # 33 bytes: 12 for the sky, 3 for the sun, 6 for each hill; each is one colour component or one length.
    words = "\n".join([str(request.seed), request.prompt, *filter(None, [request.negative_prompt])])
    subject = request.image.tobytes() if request.image is not None and request.operation == "variation" else b""
    for control, guide in zip(request.parameters.control or (), request.control_images, strict=True):
        subject += f"{control.type} {control.weight} {control.start} {control.end}".encode() + guide.tobytes()
        subject += (control.preprocess or "").encode()
    digest = blake2b(words.encode() + subject, digest_size=33).digest()
    corners = Image.frombytes("RGB", (2, 2), digest[:12])
    image = corners.resize((width, height), Image.Resampling.BILINEAR)
    pen = ImageDraw.Draw(image, "RGBA")
    sun_x, sun_y, size = digest[12] / 255 * width, digest[13] / 510 * height, 0.06 + digest[14] / 2550
    for radius, alpha in ((1.7, 40), (1.3, 70), (1.0, 230)):
        pen.circle((sun_x, sun_y), radius * size * min(width, height), fill=(255, 245, 215, alpha))
    for hill in range(3):
        red, green, blue, phase, waves, rise = digest[15 + 6 * hill : 21 + 6 * hill]
        base = height * (0.55 + 0.15 * hill)
        ridge = [
            (x, base - rise / 255 * 0.16 * height * math.sin(phase / 40 + x / width * (2 + waves / 40)))
            for x in range(0, width + 8, 8)
        ]
        pen.polygon(
            [*ridge, (width + 8, height), (0, height)],
            fill=(red // 2, green // 2 + 20, blue // 2, 190),
        )
    return image
