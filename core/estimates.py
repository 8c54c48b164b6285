"""How long images take: learned from the last jobs that were completed, and from the catalogue before there are any.

A job's receipt has the seconds on the device and the images of its micro-batch. Their quotient is what an image took;
its median over the last jobs of one model, operation, size, number of steps and size of micro-batch is what the next
image will take. Other sizes and steps of a model are scaled by what the measured ones took in proportion to the
catalogue.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence

import sqlalchemy as sa

from core.catalog import Model
from core.db import Statement
from core.parameters.job import ResolvedParameters, dimensions_of
from core.processing_cost import processing_seconds
from core.rows.job import MeasuredRow
from core.tables import images, jobs

RECENT_JOBS = 500
"""Jobs that ended last, of all models: what the query reads at most."""

Kind = tuple[str, str, str, int]
"""Model, operation, size, steps."""

SAMPLES = 20
"""Completed jobs whose median is taken, of each kind and size of micro-batch."""


def list_measured() -> Statement[MeasuredRow]:
    """What an image took, by model, operation, size and steps, among the jobs that ended last."""
    finished_at = jobs.c.finished_at
    last_jobs = (
        sa.select(jobs.c.id, jobs.c.model, jobs.c.operation, jobs.c.parameters, finished_at)
        .where(finished_at.is_not(None))
        .order_by(finished_at.desc())
        .limit(RECENT_JOBS)
        .cte("last_jobs")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    size = last_jobs.c.parameters["size"].astext.label("size")
    steps = sa.cast(last_jobs.c.parameters["steps"].astext, sa.Integer).label("steps")
    receipt = images.c.receipt
    microbatch = sa.cast(receipt["microbatch"].astext, sa.Integer).label("images")
    kind = last_jobs.c.model, last_jobs.c.operation, size, steps, microbatch
    number = sa.func.row_number().over(partition_by=kind, order_by=last_jobs.c.finished_at.desc()).label("number")
    samples = (
        sa.select(*kind, (sa.cast(receipt["device_seconds"].astext, sa.Double) / microbatch).label("seconds"), number)
        .join_from(last_jobs, images, images.c.job_id == last_jobs.c.id)
        .where(~last_jobs.c.parameters.has_key("hires"))
        .where(images.c.index == 0, size.is_not(None), steps.is_not(None), microbatch > 0)
        .subquery("samples")
    )
    names = samples.c.model, samples.c.operation, samples.c.size, samples.c.steps, samples.c.images
    median = sa.func.percentile_cont(0.5).within_group(samples.c.seconds)
    statement = sa.select(*names, median.label("seconds")).where(samples.c.number <= SAMPLES).group_by(*names)
    return Statement(statement, MeasuredRow)


def nominal_seconds(model: Model, size: str, steps: int) -> float:
    """The catalogue's seconds for an image, in proportion to its steps, and to its area unless the size has its own."""
    seconds = model.seconds_by_size.get(size, model.seconds_per_image * _area(size) / _area(model.size))
    return seconds * steps / model.steps.default


def second_pass_seconds(model: Model, parameters: ResolvedParameters) -> float:
    """The catalogue's seconds for the second pass of an image; 0 without one."""
    hires = parameters.hires
    if hires is None or hires.size is None:
        return 0.0
    steps = max(1, round((hires.steps or parameters.steps) * (hires.strength or 1.0)))
    return nominal_seconds(model, hires.size, steps)


class Estimates:
    """Estimates from measured rows; without any, from the catalogue alone."""

    def __init__(self, rows: Sequence[MeasuredRow] = ()) -> None:
        self._seconds: dict[Kind, dict[int, float]] = defaultdict(dict)
        for row in rows:
            if row.seconds:
                self._seconds[row.model, row.operation, row.size, row.steps][row.images] = row.seconds

    def seconds(self, model: Model, operation: str, parameters: ResolvedParameters, images: int) -> float:
        """The seconds of one image: on the device, and of the work after it.

        images: how many go through the device together, as far as the request decides it.
        """
        size, steps = parameters.size, parameters.steps
        if parameters.hires is not None:
            first = self.seconds(model, operation, parameters.model_copy(update={"hires": None}), images)
            return first + second_pass_seconds(model, parameters) * self.factor(model, operation)
        seconds = self._seconds.get((model.id, operation, size, steps))
        if seconds is None:
            return nominal_seconds(model, size, steps) * self.factor(model, operation) + processing_seconds(parameters)
        nearest = min(seconds, key=lambda microbatch: abs(math.log(microbatch / images)))
        return seconds[nearest] + processing_seconds(parameters)

    def factor(self, model: Model, operation: str | None = None) -> float:
        """What images of a model take in proportion to the catalogue; of one operation if that was measured."""
        ratios = {
            kind: statistics.median(seconds.values()) / nominal_seconds(model, kind[2], kind[3])
            for kind, seconds in self._seconds.items()
            if kind[0] == model.id
        }
        of_operation = [ratio for kind, ratio in ratios.items() if kind[1] == operation]
        return statistics.median(of_operation or ratios.values() or [1.0])


def _area(size: str) -> int:
    width, height = dimensions_of(size)
    return width * height
