"""How many images a claim takes, where a pass over the device takes so little time that several make one micro-batch.

A claim, a beginning and a commit of results cost nearly the same for each micro-batch, however many jobs it has. A
micro-batch of such jobs has several passes, each as large as the catalogue says. It takes MAX_SECONDS on the device,
and as long to be stored, at most: an urgent job waits for no more than that.
"""

from collections.abc import Sequence
from typing import Literal

from core.rows.job import JobRow

MAX_SECONDS = 0.1
"""Of a micro-batch with several passes, on the device and in storing."""

MAX_IMAGES = 128
"""Of a micro-batch with several passes."""

GROWTH = 2
"""A micro-batch has so many times the images of the one that was measured last, at most."""

WEIGHT = 0.25
"""Of the last micro-batch in the estimated time of an image."""

MAX_KEYS = 100
"""Micro-batch keys whose sizes are known. Beyond that, the one that was learned first is forgotten."""

Step = Literal["generate", "store"]


class ClaimSizes:
    """By micro-batch key, how many images a claim takes: learned from what the last micro-batches took."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}
        self._seconds: dict[str, dict[Step, float]] = {}

    def record(self, step: Step, jobs: Sequence[JobRow], seconds: float) -> None:
        """Note that a step of a micro-batch took so long. One that does not fill a pass says little and is ignored."""
        key, pass_size, images = jobs[0].microbatch_key, jobs[0].microbatch_size, sum(job.n for job in jobs)
        if images < pass_size:
            return
        steps = self._seconds.setdefault(key, {})
        steps[step] = steps.get(step, seconds / images) * (1 - WEIGHT) + seconds / images * WEIGHT
        in_time = int(MAX_SECONDS / max(steps.values())) if len(steps) > 1 else 0
        passes = min(in_time, MAX_IMAGES, GROWTH * images) // pass_size
        self._sizes.pop(key, None)
        if passes > 1:
            self._sizes[key] = passes * pass_size
        if len(self._seconds) > MAX_KEYS:
            oldest = next(iter(self._seconds))
            del self._seconds[oldest]
            self._sizes.pop(oldest, None)

    def current(self) -> dict[str, int]:
        """By micro-batch key, the images of a micro-batch with several passes."""
        return dict(self._sizes)
