"""The estimate of the work after generation: it grows with what a request wants."""

from typing import Any

import pytest

from core.images.postprocess import Postprocess
from core.parameters.job import ResolvedParameters
from core.processing_cost import processing_seconds


def seconds(**fields: Any) -> float:
    values = {"size": "1024x1024", "steps": 5, "guidance_scale": 5.0, "seed": 7} | fields
    return processing_seconds(ResolvedParameters.model_validate(values))


@pytest.mark.parametrize(
    "more",
    [
        {"postprocess": Postprocess(denoise=0.5)},
        {"postprocess": Postprocess(sharpen=0.5)},
        {"postprocess": Postprocess(upscale=2)},
        {"output_format": "webp"},
        {"partial_images": 1},
        {"size": "2048x2048"},
    ],
)
def test_more_work_costs_more(more: dict[str, Any]) -> None:
    assert seconds(**more) > seconds()


def test_the_most_work_costs_what_it_takes() -> None:
    filters = Postprocess(denoise=1.0, upscale=4, sharpen=1.0)
    assert 3 < seconds(postprocess=filters, output_format="webp", partial_images=3) < 9
    assert seconds(postprocess=Postprocess(denoise=0.0)) == seconds()
