"""Free sizes: any size within the bounds of a model, and the nearest where it is outside."""

import json

import pytest

from core.catalog import Catalog
from core.errors import InvalidParameter
from core.requests.adaptation import nearest_size_of
from core.requests.job import JobRequest, parse
from core.requests.plan import plan
from core.settings import Settings

CATALOG = Catalog.model_validate(
    {
        "default": "free",
        "models": [
            {
                "id": "free",
                "generator": "fake",
                "sizes": ["64x64"],
                "free_sizes": {"multiple": 16, "min_side": 64, "max_side": 512, "max_pixels": 131072},
            },
            {"id": "named", "generator": "fake", "sizes": ["64x64"]},
        ],
    }
)


def submit(size: str, model: str = "free") -> tuple[str, float]:
    request = parse(JobRequest, json.dumps({"prompt": "a cat", "model": model, "size": size}).encode())
    job = plan(request, CATALOG, Settings(), "project")
    return job.parameters.size, job.cost


def test_a_size_within_the_bounds_is_generated_and_costs_by_its_area() -> None:
    assert submit("320x240")[0] == "320x240"
    assert submit("256x256")[1] > 10 * submit("64x64")[1]


@pytest.mark.parametrize(
    ("size", "nearest"),
    [("333x250", "320x240"), ("1000x1000", "352x352"), ("32x32", "64x64"), ("7x7", "multiples of 16")],
)
def test_a_size_outside_the_bounds_is_refused_with_the_nearest(size: str, nearest: str) -> None:
    with pytest.raises(InvalidParameter, match=nearest) as error:
        submit(size)

    assert error.value.param == "size"
    with pytest.raises(InvalidParameter, match="choose from 64x64"):
        submit(size, "named")


def test_an_adapting_call_is_generated_at_the_nearest_size() -> None:
    model = CATALOG.model("free")
    assert [nearest_size_of(size, model) for size in ("320x240", "1024x1024")] == ["320x240", "352x352"]
    assert nearest_size_of("320x240", CATALOG.model("named")) == "64x64"
