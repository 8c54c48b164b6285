"""What a generator is: the code that turns requests into pixels. The protocol, and the types of its arguments.

No torch here and no device: `worker/generators/` holds the generators, `worker/generation/microbatch.py` calls them.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any, Protocol

from PIL.Image import Image
from PIL.Image import new as new_image

from core.generation_errors import GenerationError
from core.parameters.control import Control, ControlSpec
from core.parameters.job import Operation, ResolvedParameters
from core.status import CallOutcome


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """One image to generate. The requests of one call share a micro-batch key; see `Rule.microbatch`.

    A variation shows the subject of `image` anew. An edit starts from `image` and changes it as far as the parameter
    `strength` says, everywhere, or only where `mask` is white. Input images have the size of the output.
    """

    prompt: str  # may be empty for a variation
    parameters: ResolvedParameters  # seed is that of this image
    operation: Operation = "generation"
    image: Image | None = None  # RGB; of a variation or an edit
    mask: Image | None = None  # L; 255 where an edit may change the image, 0 where it must not
    reference_images: tuple[Image, ...] = ()  # RGB; further images of an edit, for a model that takes several

    control_images: tuple[Image, ...] = ()  # RGB; one for each of the parameter `control`

    @property
    def seed(self) -> int:
        """0 .. 2**32 - 1."""
        return self.parameters.seed

    @property
    def width(self) -> int:
        """Pixels."""
        return self.parameters.dimensions[0]

    @property
    def height(self) -> int:
        """Pixels."""
        return self.parameters.dimensions[1]

    @property
    def steps(self) -> int:
        """Denoising steps."""
        return self.parameters.steps

    @property
    def guidance_scale(self) -> float:
        """How closely the image follows the prompt."""
        return self.parameters.guidance_scale

    @property
    def negative_prompt(self) -> str | None:
        """What the image should not show."""
        return self.parameters.negative_prompt

    @property
    def has_negative_prompt(self) -> bool:
        """Whether one of the negative prompts says something."""
        return bool(self.parameters.negative_prompt or self.parameters.negative_prompt_2)

    @property
    def strength(self) -> float | None:
        """Of an edit: above 0 (nothing changes) up to 1 (nothing remains)."""
        return self.parameters.strength


def with_control(request: ImageRequest, spec: ControlSpec) -> ImageRequest:
    """The request with a control image of a type, half black and half white, to try the type."""
    guide = new_image("RGB", (request.width, request.height))
    guide.paste("white", (request.width // 2, 0, request.width, request.height))
    control = Control(type=spec.type, weight=1.0 if spec.is_required else spec.weight)
    return replace(
        request, parameters=request.parameters.model_copy(update={"control": [control]}), control_images=(guide,)
    )


@dataclass(frozen=True, slots=True)
class Notice:
    """A warning about a job that is executed all the same: an entry of its `warnings`."""

    code: str  # such as prompt_truncated
    message: str
    param: str | None = None  # the field of the request that it is about
    value: float | None = None  # of `param`, with which the images are generated instead


class Stopped(Exception):
    """Raised by a progress reporter, to leave a pipeline between two steps."""


class ImagesRejected(Exception):
    """Raised by a generator if some images of a call are unusable; the others are as good as ever."""

    def __init__(self, results: Sequence["Image | GenerationError"]) -> None:
        super().__init__(f"{sum(isinstance(result, GenerationError) for result in results)} images are unusable")
        self.results = results
        """One per request, in order: the image, or why there is none."""


class ProgressReporter(Protocol):
    """Receives the progress of a generator."""

    def step(self, current: int, total: int) -> None:
        """Report that `current` of `total` denoising steps are finished. Raises Stopped if all jobs are cancelled."""

    def preview(self, draw: Callable[[], Sequence[Image]]) -> None:
        """Offer a preview between two steps. `draw` renders the images; it is called only if a client wants them."""


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory of a device, in bytes."""

    weights: int = 0  # of one model: measured if it is loaded, else estimated from its files
    capacity: int | None = None  # that the weights of all models may take together; None: not limited
    device: str | None = None  # its name, such as "cpu" or "NVIDIA H200"; None: not known
    shared: Mapping[Hashable, int] = field(default_factory=dict)
    """The part of `weights` that other models may have too, by component: it takes memory once."""
    ram: int | None = None  # of the weights, once they have left the device for RAM; None: as many as there


class Generator(Protocol):
    """Generates images with one model. Used by one thread at a time; keeps its weights between calls."""

    def check(self) -> None:
        """Check what `load` needs beside the files, in a second at most. Raises ModelUnavailable."""

    def load(self) -> None:
        """Load the weights to the device. A second call does nothing. Raises ModelUnavailable, OutOfMemory."""

    def unload(self) -> None:
        """Free the memory of the weights. `load` brings them back."""

    def move_to_ram(self) -> bool:
        """Move the weights from the device to RAM; `load` moves them back. Returns False if they cannot be moved."""

    def memory(self) -> Memory:
        """The memory that the weights take, or would take, and what the device has. Raises ModelUnavailable."""

    def generate(self, requests: Sequence[ImageRequest], reporter: ProgressReporter) -> Sequence[Image]:
        """Generate one image per request, in order, in one pass over the device. RGB, or RGBA if it is transparent.

        Requests of one call have the same `sharing_key`. Raises ImagesRejected, OutOfMemory, Stopped (from the
        reporter), or GeneratorFailed for other errors.
        """

    def sharing_key(self, request: ImageRequest) -> Hashable | None:
        """Requests with an equal key may share a pass: none changes the image of another. None: alone in its pass."""

    def notices(self, request: ImageRequest) -> Sequence[Notice]:
        """Warnings about the parts of a request that the model does not use, such as the end of a long prompt."""

    def receipt(self) -> dict[str, str]:
        """How the images were generated: model revision, library versions, device, dtype."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The result of a provider call: `images` if it succeeded, else `error`."""

    outcome: CallOutcome
    images: Sequence[Image] = ()  # RGB; RGBA if they are transparent
    error: GenerationError | None = None
    http_status: int | None = None
    request_id: str | None = None  # the provider's
    usage: Mapping[str, Any] | None = None  # as the provider counts it
    cost_usd: Decimal | None = None  # None: not known, or nothing
    wait: timedelta | None = None  # how long the provider wants no further call
    receipt: Mapping[str, Any] = field(default_factory=dict)


Show = Callable[[int, Image], None]
"""Receives each preview (RGB), with its number from 0. Does not raise."""


class RemoteGenerator(Protocol):
    """Generates images by paid calls to a provider. Needs no device; used by several threads."""

    @property
    def timeout(self) -> timedelta:
        """The maximum duration of `send`."""

    def fingerprint(self, requests: Sequence[ImageRequest]) -> bytes:
        """SHA-256 of the request that `send` would send."""

    def send(self, requests: Sequence[ImageRequest], call_id: str, show: Show) -> Reply:
        """Send one request for all images of a job, which differ only in their seeds. It is never sent twice.

        call_id: our id of the call; the provider may log it. show: receives the previews of `partial_images`.
        Errors of the provider or the network are in the reply, not raised.
        """
