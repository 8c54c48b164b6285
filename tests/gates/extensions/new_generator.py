"""Runs in a copy with the generator `echo` and a model of it: the model generates an image."""

from pathlib import Path

from core.catalog import load_catalog
from core.generation import ImageRequest, ProgressReporter
from core.requests.job import JobRequest
from core.requests.plan import plan
from core.settings import Settings
from worker.generators import build


class Reporter:
    """Counts the steps."""

    def __init__(self) -> None:
        self.steps = 0

    def step(self, done: int, total: int) -> None:
        self.steps += 1

    def preview(self, draw: object) -> None:
        """Want none."""


def generate() -> None:
    settings = Settings()
    catalog = load_catalog(Path("models/catalog.toml"))
    model = catalog.model("echo")
    request = JobRequest.model_validate({"model": "echo", "prompt": "a cat", "seed": 7})
    job = plan(request, catalog, settings, "default")
    generator, reporter = build(model, settings), Reporter()
    observer: ProgressReporter = reporter
    generator.load()
    (image,) = generator.generate([ImageRequest(job.prompt, job.parameters)], observer)
    assert (image.size, image.getpixel((0, 0)), reporter.steps) == ((64, 64), (7, 7, 7), 1)
    assert generator.receipt() == {"device": "none"}


if __name__ == "__main__":
    generate()
