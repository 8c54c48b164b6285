"""The options of postprocessing, `Postprocess`, and the size of the result.

`worker/generation/postprocess.py` applies them, in the order denoise, upscale, sharpen. All are off by default, and a
strength of 0 does not change a pixel.
"""

from typing import Annotated, Literal

from annotated_types import Ge, Le
from pydantic import BaseModel, ConfigDict, Field

from core.errors import InvalidParameter

MAX_SIDE_PX = 4096
"""The maximum side of an enlarged image."""

Strength = Annotated[float, Ge(0), Le(1)]


class Postprocess(BaseModel):
    """Filters for the generated image, always applied in this order. `{}` does nothing."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        json_schema_extra={"examples": [{"denoise": 0.3, "upscale": 2, "sharpen": 0.5}]},
    )

    denoise: Strength | None = Field(
        None,
        description="Strength of noise reduction, 0 to 1. It smooths even areas and keeps edges. 0 changes nothing.",
    )
    upscale: Literal[2, 4] | None = Field(
        None,
        description=f"Factor for both sides. Edges stay sharp, without halos. No side may exceed {MAX_SIDE_PX} px.",
    )
    sharpen: Strength | None = Field(
        None, description="Strength of sharpening, 0 to 1. It raises the contrast of edges. 0 changes nothing."
    )

    @property
    def does_nothing(self) -> bool:
        """Whether no option changes the image."""
        return not (self.denoise or self.upscale or self.sharpen)


def check_side(param: str, size: str | None) -> None:
    """Raise InvalidParameter if a side of `WIDTHxHEIGHT` is longer than MAX_SIDE_PX."""
    if size is not None and max(int(side) for side in size.split("x")) > MAX_SIDE_PX:
        raise InvalidParameter(f"{param} is {size}; no side may be longer than {MAX_SIDE_PX} px.", param=param)


def output_size(size: str, postprocess: Postprocess | None) -> str:
    """The size after postprocessing of an image generated at `size`; both as `WIDTHxHEIGHT` in pixels.

    Raises InvalidParameter if the upscaled image would be larger than MAX_SIDE_PX.
    """
    factor = 1 if postprocess is None else postprocess.upscale or 1
    width, height = (factor * int(side) for side in size.split("x"))
    if factor > 1 and max(width, height) > MAX_SIDE_PX:
        raise InvalidParameter(
            f"postprocess.upscale {factor} would make {size} an image of {width}x{height}; "
            f"no side may be longer than {MAX_SIDE_PX} px.",
            param="postprocess.upscale",
        )
    return f"{width}x{height}"
