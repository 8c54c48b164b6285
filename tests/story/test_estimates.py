"""A dry run learns from the jobs that ended, and what it says about time agrees."""

import time
from typing import Any

import pytest

from tests.stack import Stack, body
from tests.waiting import until

WRONG = 100
"""By how much the catalogue is wrong about the model `slow`."""


def dry_run(stack: Stack, **fields: Any) -> dict[str, Any]:
    request = {"prompt": "x", "model": "slow", "size": "64x64", "dry_run": True, **fields}
    answer = stack.client.post("/v1/jobs", json=request)
    assert answer.status_code == 200, answer.text
    return body(answer)


def test_an_estimate_follows_what_the_last_jobs_took(own: Stack) -> None:
    catalog = own.directory / "catalog.toml"
    catalog.write_text(catalog.read_text().replace("seconds_per_image = 4.0", f"seconds_per_image = {4.0 * WRONG}"))
    own.api()
    nominal = dry_run(own, steps=4)["device_seconds"]
    own.worker()
    finals = [own.final(own.submit(model="slow", steps=4)["id"]) for _ in range(3)]

    until(lambda: dry_run(own, steps=4)["device_seconds"] < nominal / 2)  # the API reads again after some seconds

    measured = [final["images"][0]["receipt"]["device_seconds"] for final in finals]
    estimate, scaled = dry_run(own, steps=4), dry_run(own, steps=8, n=2)
    assert nominal == pytest.approx(0.4 * WRONG, rel=0.01)
    assert min(measured) <= estimate["device_seconds"] <= max(measured) + 0.1
    assert scaled["device_seconds"] == pytest.approx(4 * estimate["device_seconds"], rel=0.2)
    batch = {"prompts": ["x"] * 10, "model": "slow", "size": "64x64", "steps": 4, "dry_run": True}
    of_batch = body(own.client.post("/v1/batches", json=batch))
    assert of_batch["device_seconds"] == pytest.approx(10 * estimate["device_seconds"], rel=0.2)
    assert of_batch["estimated_finish_at"] >= time.time() - 5 + of_batch["device_seconds"]


def test_the_queue_of_a_model_is_estimated_from_the_same_figures(own: Stack) -> None:
    own.api()
    waiting = [own.submit(model="elsewhere") for _ in range(3)]

    estimate = dry_run(own, model="elsewhere")
    models = body(own.client.get("/v1/models"))["data"]

    (queue,) = [model["queue"] for model in models if model["id"] == "elsewhere"]
    assert queue["queued"] == len(waiting)
    assert queue["device_seconds"] == pytest.approx(3 * estimate["device_seconds"], rel=0.01)
    assert estimate["estimated_finish_at"] >= time.time() + 2 * estimate["device_seconds"]
