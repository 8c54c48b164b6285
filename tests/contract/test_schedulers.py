"""The scheduler of a request: every one that the catalogue lists changes the image, and no other is taken."""

from pathlib import Path
from typing import Any

import numpy
import pytest

from core.catalog import Catalog
from core.errors import InvalidParameter
from core.generation_errors import ModelUnavailable
from core.requests.job import JobRequest
from core.requests.plan import plan
from core.settings import Settings
from tests.contract.kinds import RecordingReporter, a_diffusers_generator, a_model
from tests.contract.pipelines import SIDE_PX, a_tiny_flux, save_pipeline, warnings_of_diffusers
from tests.image_requests import image_request

pytestmark = warnings_of_diffusers

SCHEDULERS = ("euler", "dpmpp_2m_karras", "unipc", "ddim")


def test_each_scheduler_makes_another_image_and_the_models_own_comes_back(tiny: Path) -> None:
    generator = a_diffusers_generator(tiny, choices={"scheduler": SCHEDULERS})

    def image(scheduler: str | None) -> bytes:
        request = image_request("a cat", side=SIDE_PX, seed=1, scheduler=scheduler)
        return numpy.asarray(generator.generate([request], RecordingReporter())[0]).tobytes()

    images = [image(scheduler) for scheduler in (None, *SCHEDULERS, None)]

    assert len(set(images)) == len(SCHEDULERS) + 1
    assert images[0] == images[-1]


def test_a_model_has_the_schedulers_of_its_catalogue_entry_and_jobs_agree_on_them() -> None:
    chooses = a_model(id="chooses", choices={"scheduler": SCHEDULERS})
    catalog = Catalog(default="chooses", models=(chooses, a_model(id="fixed")))

    def key(**fields: Any) -> str:
        return plan(JobRequest(prompt="a cat", seed=1, **fields), catalog, Settings(), "proj").microbatch_key

    assert len({key(), key(scheduler="euler"), key(scheduler="unipc")}) == 3
    with pytest.raises(InvalidParameter, match="scheduler 'lms' is not available for chooses; choose from euler,"):
        key(scheduler="lms")
    with pytest.raises(InvalidParameter, match="fixed does not support scheduler: leave it out"):
        key(model="fixed", scheduler="euler")


def test_a_scheduler_that_the_pipeline_cannot_have_is_found_when_it_is_loaded(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"no scheduler 'warp'.* can be replaced by ddim,"):
        a_diffusers_generator(tiny, choices={"scheduler": ("warp",)}).load()
    flux = save_pipeline(a_tiny_flux(), tmp_path / "flux")
    with pytest.raises(ModelUnavailable, match=r"no scheduler 'euler': Flow.* can be replaced by no other"):
        a_diffusers_generator(flux, choices={"scheduler": ("euler",)}).load()
