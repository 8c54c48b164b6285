"""Control images: an image that guides the layout of the result, such as its edges, its depth or a pose.

The catalogue lists a model's control networks by type; a request names types and sends an image for each.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Le
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, StringConstraints, model_validator

from core.errors import InvalidParameter, MissingParameter
from core.parameters.image_source import ImageSource, SourceOrText
from core.text import quote

MAX_CONTROLS = 4
"""Control images of a request."""
CONTROL_ROLES = tuple(f"control_{number}" for number in range(1, MAX_CONTROLS + 1))
"""The names of a job's control images in its `inputs`, in the order of the request."""
MAX_WEIGHT = 2.0

Preprocess = Literal["none", "canny", "depth", "lineart", "pose", "tile"]
"""What is made of a control image before a network reads it. `none` and `tile` only scale it to the size."""
PREPROCESSES: tuple[Preprocess, ...] = ("none", "canny", "lineart", "tile")
"""Those that need no network. `depth` needs one that the catalogue names; there is none for `pose`."""

ControlType = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
ControlWeight = Annotated[float, Ge(0), Le(MAX_WEIGHT)]


def check_folder(name: str) -> str:
    """Check that a path stays within models_dir. Raises ValueError."""
    path = PurePosixPath(name)
    if name and (path.is_absolute() or ".." in path.parts):
        raise ValueError(f"{name!r} must be a folder in models_dir, or a .safetensors file there")
    return name


class Control(BaseModel):
    """A control image. `type=image` and `type:weight=image` are read too, for forms and the command line."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, json_schema_extra={"required": ["type", "image"]}
    )

    type: Annotated[str, Field(min_length=1, max_length=32, description="One of the model's `controls`.")]
    image: SourceOrText | None = Field(
        None, description="The control image, such as the edges of a photo. It is cropped and scaled to `size`."
    )
    weight: ControlWeight | None = Field(
        None, allow_inf_nan=False, description="How strongly it acts. Default: the catalogue's weight of the type."
    )
    preprocess: Preprocess | None = Field(
        None,
        description="What is made of the image first: `canny` (edges), `depth`, `lineart`; `tile` and `none` only "
        "scale it. Default: the catalogue's for the type.",
        exclude_if=lambda value: value is None,
    )
    start: Annotated[float, Ge(0), Le(1)] = Field(0.0, description="The share of the steps after which it begins.")
    end: Annotated[float, Ge(0), Le(1)] = Field(1.0, description="The share of the steps after which it ends.")

    @model_validator(mode="before")
    @classmethod
    def _read_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        head, equals, image = value.partition("=")
        kind, _, weight = head.partition(":")
        try:
            numbers = {"weight": float(weight)} if weight else {}
        except ValueError:
            equals = ""
        if not equals or not image:
            raise ValueError(f"{quote(value)} must be type=image or type:weight=image, such as depth:0.8=file-...")
        return {"type": kind, "image": image, **numbers}

    @model_validator(mode="after")
    def _begins_before_its_end(self) -> Self:
        if self.start >= self.end:
            raise ValueError(f"start {self.start:g} must be less than end {self.end:g}")
        return self


class ControlSpec(BaseModel):
    """A type of control images of a model in the catalogue, and the network that reads them.

    mode: which kind of image it is for a union network, which reads several. config: for a checkpoint as `source`, the
    folder with the network's config.json.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: ControlType
    source: Annotated[str, AfterValidator(check_folder)] = Field("", exclude=True)
    config: Annotated[str, AfterValidator(check_folder)] = Field("", exclude=True)
    mode: Annotated[int, Ge(0), Le(99)] | None = Field(None, exclude=True)
    weight: ControlWeight = 1.0
    preprocess: Preprocess = "none"
    description: str = Field("", description="What its control images show.")
    _network: str = PrivateAttr("")

    def with_network(self, name: str) -> "ControlSpec":
        """The same with the class of its network, which its folder tells; "" if it is not known."""
        spec = self.model_copy()
        spec._network = name
        return spec

    @property
    def begins_at_once(self) -> bool:
        """Whether the network acts from the first step on, so that `start` has no meaning. False if it is not known."""
        return self._network == "T2IAdapter"

    @property
    def is_required(self) -> bool:
        """Whether the model draws only with such an image: its denoiser reads it."""
        return not self.source or self.is_lora

    @property
    def is_lora(self) -> bool:
        """Whether the source is a Control-LoRA, which makes the denoiser read the image."""
        return self.source.endswith(".safetensors") and not self.config

    @model_validator(mode="after")
    def _has_a_network_for_its_options(self) -> Self:
        if self.config and not self.source.endswith(".safetensors"):
            raise ValueError(f"controls: {self.type} has a config, which only a .safetensors file as `source` needs")
        if self.mode is not None and self.is_required:
            raise ValueError(f"controls: {self.type} has a mode, which only a union network as `source` reads")
        if not self.source and self.weight != 1:
            raise ValueError(f"controls: {self.type} has a weight, but no network as `source` that could act by it")
        return self


def check_types(controls: tuple[ControlSpec, ...]) -> tuple[ControlSpec, ...]:
    """Check that each type occurs once, and that one which every image needs is alone. Raises ValueError."""
    types = [control.type for control in controls]
    if duplicates := {kind for kind in types if types.count(kind) > 1}:
        raise ValueError(f"duplicate types: {', '.join(sorted(duplicates))}")
    if len(controls) > 1 and (required := [control.type for control in controls if control.is_required]):
        raise ValueError(f"{required[0]}: the denoiser reads its images itself, so there can be no other type")
    return controls


def resolve_controls(
    controls: Sequence[Control], specs: Sequence[ControlSpec], model_id: str, preprocessors: Collection[str] = ()
) -> list[Control] | None:
    """The controls of a request, each with a weight and without its image, which is an input of the job.

    preprocessors: those of the model that need a network. None for no control. Raises InvalidParameter for a type that
    the model does not have, for a way of preprocessing that it lacks, and for a weight or a share of the steps if its
    denoiser reads the image itself, and MissingParameter without the image that such a model needs.
    """
    required = [spec.type for spec in specs if spec.is_required]
    if required and not controls:
        raise MissingParameter(
            f"control: {model_id} draws only with an image of the type {required[0]}.", param="control"
        )
    for index, control in enumerate(controls):
        if control.type in required and control.weight not in (None, 1):
            raise InvalidParameter(
                f"control: {model_id} takes no other weight than 1.", param=f"control.{index}.weight"
            )
        if control.type in required and (control.start, control.end) != (0, 1):
            name = "start" if control.start else "end"
            raise InvalidParameter(
                f"control: {model_id} reads the image in all steps: leave {name} out.", param=f"control.{index}.{name}"
            )
    early = {spec.type for spec in specs if spec.begins_at_once}
    for index, control in enumerate(controls):
        if control.start and control.type in early:
            raise InvalidParameter(
                f"control: {quote(control.type)} of {model_id} is a T2I-Adapter, which acts from the first step: leave "
                "start out.",
                param=f"control.{index}.start",
            )
    weights = {spec.type: spec.weight for spec in specs}
    defaults: dict[str, Preprocess] = {spec.type: spec.preprocess for spec in specs}
    for index, control in enumerate(controls):
        if control.type not in weights:
            available = ", ".join(weights)
            raise InvalidParameter(
                f"control: {quote(control.type)} is not available for {model_id}; choose from {available}.",
                param=f"control.{index}.type",
            )
    return [
        control.model_copy(
            update={
                "image": None,
                "weight": _weight_of(control, weights[control.type], control.type in required),
                "preprocess": _preprocess_of(control, defaults[control.type], index, model_id, preprocessors),
            }
        )
        for index, control in enumerate(controls)
    ] or None


def _preprocess_of(
    control: Control, default: Preprocess, index: int, model_id: str, preprocessors: Collection[str]
) -> Preprocess | None:
    """How the image is preprocessed; None if it is only scaled. Raises InvalidParameter."""
    kind = control.preprocess or default
    available = (*PREPROCESSES, *preprocessors)
    if kind not in available:
        raise InvalidParameter(
            f"control: {model_id} cannot make {kind} of an image, as its catalogue entry names no network for it: send "
            f"the {kind} image itself, or choose from {', '.join(available)}.",
            param=f"control.{index}.preprocess",
        )
    return None if kind == "none" else kind


def _weight_of(control: Control, default: float, is_required: bool) -> float:
    """The weight of a request. That of a Control-LoRA acts when the model is loaded."""
    if is_required:
        return 1.0
    return default if control.weight is None else control.weight


def repeated_controls(controls: Sequence[Control] | None, inputs: Mapping[str, str]) -> list[Control] | None:
    """The controls that request those of a job again. What a job does not preprocess has no default then."""
    return [
        control.model_copy(update={"preprocess": control.preprocess or "none"})
        for control in with_images(controls, inputs) or ()
    ] or None


def with_images(controls: Sequence[Control] | None, inputs: Mapping[str, str]) -> list[Control] | None:
    """The controls of a job with the files of their images, which are among its `inputs`; None for no control."""
    if controls is None:
        return None
    images = [ImageSource(file_id=inputs[role]) for role in CONTROL_ROLES if role in inputs]
    return [control.model_copy(update={"image": image}) for control, image in zip(controls, images, strict=True)]
