"""The requests of AUTOMATIC1111's API: `txt2img` and `img2img`, with the names and defaults of its `api/models.py`.

`core/requests/webui_adaptation.py` converts them to jobs. Fields that are not here are those of `UNUSED_FIELDS` in
`webui_fields.py`, or unknown; they cause warnings, not errors. null means not set.
"""

import re
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from core.text import Text

WEBUI_SIZE = 512
"""The webui's default width and height, in pixels."""

MIN_SIDE, MAX_SIDE = 16, 9999
"""Sides of an image that a request may ask for, in pixels. What exceeds the server's maximum is scaled down."""

MAX_NUMBER = 2**63 - 1

EXAMPLE_IMAGE = (
    "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAIAAACQkWg2AAAAGUlEQVR4nGNkaGhgIAUwkaR6VMOohiGlAQBBvQEg5hFlkQAAAABJRU5ErkJggg=="
)
"""A small square."""

_NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")


def _number(value: Any) -> Any:
    """The number in a text, or in a float without a fraction: clients in JavaScript or Lua send those too."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value) if "." in value else int(value)
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def _is_set(value: Any) -> Any:
    """A switch that some clients send as 0 or 1."""
    return bool(value) if type(value) is int and value in (0, 1) else value


_NumberText = Annotated[str, Field(pattern=f"^{_NUMBER.pattern}$")]


def integer(minimum: int, maximum: int) -> BeforeValidator:
    """Read an integer that may be a text."""
    return BeforeValidator(_number, json_schema_input_type=Annotated[int, Ge(minimum), Le(maximum)] | _NumberText)


def number(minimum: float, maximum: float) -> BeforeValidator:
    """Read a number that may be a text."""
    return BeforeValidator(_number, json_schema_input_type=Annotated[float, Ge(minimum), Le(maximum)] | _NumberText)


Switch = Annotated[bool, BeforeValidator(_is_set, json_schema_input_type=bool | Literal[0, 1])]
Count = Annotated[int, Ge(1), Le(1000), integer(1, 1000)]
Side = Annotated[int, Ge(MIN_SIDE), Le(MAX_SIDE), integer(MIN_SIDE, MAX_SIDE)]
NewSide = Annotated[int, Ge(0), Le(MAX_SIDE), integer(0, MAX_SIDE)]
"""A side of a result; 0: it follows from the other."""
Share = Annotated[float, Ge(0), Le(1), number(0, 1)]
Base64 = Annotated[str, MinLen(1)]
Settings = Annotated[dict[str, Any], MaxLen(200)]


class WebuiRequest(BaseModel):
    """The fields of both calls."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    prompt: Text | None = Field(None, description="The content of the images.")
    negative_prompt: Text | None = Field(None, description="What the images should not show.")
    styles: Annotated[list[Text], MaxLen(50)] | None = Field(None, description="Names of `/sdapi/v1/prompt-styles`.")
    seed: Annotated[int, Ge(-MAX_NUMBER), Le(MAX_NUMBER), integer(-MAX_NUMBER, MAX_NUMBER)] | None = Field(
        None, description="Seed of the first image; image i has seed + i. -1: random."
    )
    sampler_name: Text | None = Field(None, description="A name of `/sdapi/v1/samplers`. Default: the model's own.")
    sampler_index: Text | None = Field(None, description="The older name of `sampler_name`.")
    scheduler: Text | None = Field(None, description="A name or label of `/sdapi/v1/schedulers`.")
    batch_size: Count | None = Field(None, description="Images of a batch. Default: 1.")
    n_iter: Count | None = Field(
        None, description="Number of batches. There are `batch_size` x `n_iter` images, of one job."
    )
    steps: Annotated[int, Ge(1), Le(MAX_NUMBER), integer(1, MAX_NUMBER)] | None = Field(
        None, description="Number of denoising steps. Default: the model's."
    )
    cfg_scale: Annotated[float, Ge(-1e6), Le(1e6), number(-1e6, 1e6)] | None = Field(
        None, description="How closely the images follow the prompt. Default: the model's."
    )
    width: Side | None = Field(
        None, description="Width in pixels. Any: the image is generated at the model's nearest size, and scaled."
    )
    height: Side | None = Field(None, description="Height in pixels. Default, without `width` too: the model's size.")
    denoising_strength: Share | None = Field(
        None, description="How much img2img, or the second pass of txt2img, changes the image."
    )
    override_settings: Settings | None = Field(
        None, description="`sd_model_checkpoint` (the model), `samples_format`, `jpeg_quality`, `live_previews_enable`."
    )
    alwayson_scripts: Settings | None = Field(
        None, description="`controlnet`: the control images. Others cause a warning."
    )
    send_images: Switch | None = Field(None, description="Whether the response has the images. Default: true.")

    @model_validator(mode="before")
    @classmethod
    def _drop_null(cls, values: Any) -> Any:
        return (
            {name: value for name, value in values.items() if value is not None} if isinstance(values, dict) else values
        )

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of this request alone."""
        return self.override_settings or {}


class Txt2ImgRequest(WebuiRequest):
    """Images from a prompt."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"prompt": "a penguin on the beach", "steps": 20, "width": 512, "height": 512, "seed": -1},
                {
                    "prompt": "a cat",
                    "negative_prompt": "a dog",
                    "batch_size": 2,
                    "cfg_scale": 7,
                    "sampler_name": "Euler a",
                },
            ]
        }
    )

    enable_hr: Switch | None = Field(
        None, description="Enlarge the images: by a second pass if the model has one (`hires`), else by scaling."
    )
    hr_second_pass_steps: Annotated[int, Ge(0), Le(1000), integer(0, 1000)] | None = Field(
        None, description="Steps of the second pass. 0: as in the first."
    )
    hr_upscaler: Text | None = Field(
        None, description="A name of `/sdapi/v1/latent-upscale-modes`, or a network of the model. Default: Lanczos."
    )
    refiner_checkpoint: Text | None = Field(None, description="The name of a refiner of the model.")
    refiner_switch_at: Share | None = Field(None, description="The share of the steps after which it begins.")
    hr_scale: Annotated[float, Ge(0), Le(100), number(0, 100)] | None = Field(
        None, description="Factor of `enable_hr`. Default: 2."
    )
    hr_resize_x: NewSide | None = Field(
        None, description="Width of the result of `enable_hr`, instead of `hr_scale`. 0: none."
    )
    hr_resize_y: NewSide | None = Field(None, description="Its height.")


class Img2ImgRequest(WebuiRequest):
    """Images from an image and a prompt, everywhere or where a mask is."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"prompt": "a red square", "init_images": [EXAMPLE_IMAGE], "denoising_strength": 0.6},
            ]
        }
    )

    init_images: Annotated[list[Base64], MinLen(1), MaxLen(16)] = Field(
        description="The image, in base64 or as a data URL; further ones are not used."
    )
    mask: Base64 | None = Field(
        None, description="White where the image may change; in an image with transparency, its opaque area."
    )
    inpainting_mask_invert: Annotated[int, Ge(0), Le(1), integer(0, 1)] | None = Field(
        None, description="1: the black (or transparent) area of the mask may change."
    )
    resize_mode: Annotated[int, Ge(0), Le(3), integer(0, 3)] | None = Field(
        None, description="How the image gets the size of the result: 0 stretch, 1 crop, 2 fill. 3 is as 0."
    )
    include_init_images: Switch | None = Field(None, description="Whether `parameters` of the response has the images.")
