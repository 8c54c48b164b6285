"""Estimates: the median of what the last images of a kind took, and the catalogue in proportion before that."""

from uuid import uuid4

import pytest
from pydantic import ValidationError

from core import jobs, submits
from core.catalog import Model
from core.db import Database
from core.estimates import SAMPLES, Estimates, list_measured
from core.parameters.job import ResolvedParameters
from core.processing_cost import processing_seconds
from core.rows.job import MeasuredRow
from tests.factories import a_job, an_image, claim

MODEL = Model(id="fake", generator="fake", sizes=("64x64", "128x128"), seconds_per_image=1.0)


def parameters(size: str = "64x64", steps: int = 20) -> ResolvedParameters:
    return ResolvedParameters(size=size, steps=steps, guidance_scale=5.0, seed=1)


def device_seconds(estimates: Estimates, size: str = "64x64", steps: int = 20, images: int = 1) -> float:
    values = parameters(size, steps)
    return estimates.seconds(MODEL, "generation", values, images) - processing_seconds(values)


def complete(database: Database, seconds: float, microbatch: int, **fields: int) -> None:
    job = a_job(**fields)
    database.execute(submits.submit(job))
    lease = uuid4()
    database.execute(claim(lease))
    image = an_image(job.id)
    image["receipt"] = {"device_seconds": seconds, "microbatch": microbatch}
    database.execute(jobs.complete(job.id, lease, [image]))


def test_the_median_of_the_last_images_of_a_kind_is_read(database: Database) -> None:
    for seconds in (90.0, 1.0, 2.0, 3.0):
        complete(database, seconds, 2)
    complete(database, 8.0, 1, steps=9)
    for seconds in [50.0] * SAMPLES + [4.0] * SAMPLES:
        complete(database, seconds, 1, steps=7)

    rows = {(row.steps, row.images): row.seconds for row in database.execute(list_measured())}

    assert rows == {(5, 2): pytest.approx(1.25), (9, 1): 8.0, (7, 1): 4.0}


def test_the_catalogue_is_the_start() -> None:
    estimates = Estimates()
    assert device_seconds(estimates) == pytest.approx(1.0)
    assert device_seconds(estimates, "128x128", 40) == pytest.approx(8.0)
    assert estimates.factor(MODEL) == 1.0


def test_a_size_may_have_seconds_of_its_own() -> None:
    own = MODEL.model_copy(update={"seconds_by_size": {"128x128": 1.5}})
    estimates = Estimates([MeasuredRow("fake", "generation", "64x64", 20, 1, 2.0)])

    seconds = [
        estimates.seconds(own, "generation", parameters(size, 40), 1) - processing_seconds(parameters(size, 40))
        for size in ("64x64", "128x128")
    ]

    assert seconds == [pytest.approx(4.0), pytest.approx(6.0)]
    with pytest.raises(ValidationError, match="32x32 is not one of sizes"):
        Model(id="fake", generator="fake", sizes=("64x64",), seconds_by_size={"32x32": 1.0})


def test_a_measured_kind_is_taken_as_it_is_and_others_in_proportion() -> None:
    rows = [
        MeasuredRow("fake", "generation", "64x64", 20, 1, 3.0),
        MeasuredRow("fake", "generation", "64x64", 20, 8, 1.0),
        MeasuredRow("other", "generation", "64x64", 20, 1, 100.0),
    ]
    estimates = Estimates(rows)
    assert device_seconds(estimates) == pytest.approx(3.0)
    assert device_seconds(estimates, images=7) == pytest.approx(1.0)
    assert device_seconds(estimates, "128x128", 40) == pytest.approx(8 * 2.0)
    assert estimates.factor(MODEL) == pytest.approx(2.0)
