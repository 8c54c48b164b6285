"""A training from the file to the images, with OpenAI's client; among the slow tests, through a kill -9.

The worker that is killed is a process. The others run in this one, which has imported torch already.
"""

import os
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from openai import BadRequestError, NotFoundError, OpenAI

from core import limits
from core.tables import DEFAULT_PROJECT, fine_tuned_models, fine_tuning_jobs
from tests.contract.pipelines import warnings_of_diffusers
from tests.fine_tuning.files import COLOURS, a_line, lines, upload
from tests.images import decode
from tests.stack import Stack, body
from tests.waiting import until
from worker.generation import microbatch
from worker.generation.context import Context
from worker.moderation.moderator import Moderator
from worker.training.directory import training_directory
from worker.training.worker import TrainingWorker

pytestmark = warnings_of_diffusers


@pytest.fixture
def client(safelight: Stack) -> OpenAI:
    return OpenAI(base_url=f"{safelight.url}/v1", api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def context(safelight: Stack) -> Iterator[Context]:
    context = Context.open(safelight.settings, Moderator.open(safelight.settings))
    yield context
    context.database.close()


@pytest.fixture(scope="module")
def trainer(safelight: Stack) -> Iterator[TrainingWorker]:
    worker = TrainingWorker(safelight.settings, "test")
    yield worker
    worker.close()


def draw(stack: Stack, context: Context, job: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
    while microbatch.run(context, "local"):
        pass
    final = stack.final(job["id"])
    assert final["status"] == "completed", final["error"]
    return decode(stack.image(final["images"][0])).tobytes(), final


def pixels(stack: Stack, context: Context, **fields: Any) -> bytes:
    return draw(stack, context, stack.submit("a flag", **{"size": "32x32", "seed": 3, **fields}))[0]


def kill_a_worker(stack: Stack, job_id: str) -> None:
    """Start a worker, and kill it when it has stored a state."""
    worker = stack.training()
    state = sa.select(fine_tuning_jobs.c.state_step).where(fine_tuning_jobs.c.id == job_id)
    until(lambda: (stack.database.execute(state)[0][0] or 0) >= 3)
    worker.kill()
    status = sa.select(fine_tuning_jobs.c.status).where(fine_tuning_jobs.c.id == job_id)
    assert stack.database.execute(status)[0][0] == "running"
    (leftover,) = training_directory(stack.settings).iterdir()
    os.utime(leftover, (0, 0))


@pytest.mark.parametrize(("steps", "is_killed"), [(6, False), pytest.param(60, True, marks=pytest.mark.slow)])
def test_a_training_goes_on_after_a_kill_and_its_model_draws(
    safelight: Stack, client: OpenAI, context: Context, trainer: TrainingWorker, steps: int, *, is_killed: bool
) -> None:
    file = client.files.create(file=("flags.jsonl", lines(*map(a_line, COLOURS))), purpose="fine-tune")
    hyperparameters: Any = {"steps": steps, "batch_size": 2}
    team = f"team-{steps}"
    job = client.fine_tuning.jobs.create(
        training_file=file.id,
        model="tiny-sdxl",
        suffix="flags",
        seed=5,
        metadata={"team": team},
        method={"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
    )
    assert (job.status, job.fine_tuned_model, job.training_file) == ("validating_files", None, file.id)

    if is_killed:
        kill_a_worker(safelight, job.id)
    else:
        assert trainer.run_once()  # it reads the file
    until(trainer.run_once)  # when the lease has ended

    assert not list(training_directory(safelight.settings).iterdir())
    job = client.fine_tuning.jobs.retrieve(job.id)
    assert job.status == "succeeded", job.error
    name = f"ft:tiny-sdxl:proj_default:flags:{job.id[-8:]}"
    assert (job.fine_tuned_model, job.hyperparameters.n_epochs, job.seed) == (name, steps // 2, 5)
    events = list(client.fine_tuning.jobs.list_events(job.id, limit=30))
    messages = [event.message for event in reversed(events)]
    assert messages[0] == f"Created fine-tuning job: {job.id}"
    assert messages[-1] == "The job has successfully completed"
    assert any(message.startswith("The training goes on after step ") for message in messages) == is_killed
    losses = [event for event in events if event.type == "metrics"]
    assert [event.data["step"] for event in reversed(losses)] == list(range(1, steps + 1))  # type: ignore[index]  # an object
    checkpoints = client.fine_tuning.jobs.checkpoints.list(job.id).data
    assert [checkpoint.step_number for checkpoint in checkpoints] == [steps // 3 * 2, steps // 3]
    assert [page.id for page in client.fine_tuning.jobs.list(metadata={"team": team})] == [job.id]
    assert not client.fine_tuning.jobs.list(metadata={"team": "b"}).data

    # The same seed makes the same weights, whether it was killed or not.
    twin = client.fine_tuning.jobs.create(
        training_file=file.id, model="tiny-sdxl", seed=5, hyperparameters=hyperparameters
    )
    assert trainer.run_once()
    assert trainer.run_once()
    is_final = fine_tuned_models.c.checkpoint_id.is_(None)
    finals = sa.select(fine_tuned_models).where(is_final, fine_tuned_models.c.fine_tuning_job_id.in_([job.id, twin.id]))
    rows = safelight.database.execute(finals.order_by(fine_tuned_models.c.created_at))
    assert [row.fine_tuning_job_id for row in rows] == [job.id, twin.id]
    assert rows[0].sha256 == rows[1].sha256

    base = pixels(safelight, context)
    parameters = {"model": name, "prompt": "a flag", "size": "32x32", "seed": 3}
    answer = safelight.client.post("/v1/images/generations", json=parameters, headers={"prefer": "respond-async"})
    tuned, final = draw(safelight, context, body(answer))
    weaker = pixels(safelight, context, loras=[{"name": name, "weight": 0.5}])
    checkpoint = pixels(safelight, context, model=checkpoints[0].fine_tuned_model_checkpoint)
    assert len({base, tuned, weaker, checkpoint}) == 4
    assert pixels(safelight, context) == base
    assert (final["model"], final["loras"]) == ("tiny-sdxl", [{"name": name, "weight": 1.0}])
    receipt = body(safelight.client.get(f"/v1/images/{final['images'][0]['id']}/receipt"))
    assert f"sha256:{rows[0].sha256}" in str(receipt)

    # It is a model of its project until it is deleted.
    assert client.models.retrieve(name).owned_by == "proj_default"
    assert name in [model.id for model in client.models.list()]
    assert name in [item["title"] for item in safelight.client.get("/sdapi/v1/sd-models").json()]
    assert safelight.client.post("/sdapi/v1/options", json={"sd_model_checkpoint": name}).status_code == 200
    assert safelight.client.get("/sdapi/v1/options").json()["sd_model_checkpoint"] == name
    assert client.models.delete(name).deleted
    assert safelight.client.get("/sdapi/v1/options").json()["sd_model_checkpoint"] == "tiny-sdxl"
    with pytest.raises(NotFoundError):
        client.models.retrieve(name)
    refusal = safelight.client.post("/v1/jobs", json={"prompt": "a flag", "size": "32x32", "model": name})
    assert (refusal.status_code, body(refusal)["error"]["code"]) == (400, "model_not_found")
    with pytest.raises(BadRequestError, match="there is no fine-tuned model"):
        client.post("/jobs", body={"prompt": "a", "loras": [{"name": name}]}, cast_to=dict)
    assert not (safelight.directory / "images" / rows[0].storage_key).exists()


def test_a_cancelled_training_stops_at_its_next_step(safelight: Stack, client: OpenAI, trainer: TrainingWorker) -> None:
    file = upload(safelight, lines(*map(a_line, COLOURS)))
    hyperparameters: Any = {"steps": 2000}
    job = client.fine_tuning.jobs.create(training_file=file, model="tiny-sdxl", hyperparameters=hyperparameters)
    assert trainer.run_once()
    training = threading.Thread(target=trainer.run_once)
    training.start()
    step = sa.select(fine_tuning_jobs.c.step).where(fine_tuning_jobs.c.id == job.id)
    until(lambda: safelight.database.execute(step)[0][0] > 0)
    assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    training.join()
    assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    assert safelight.database.execute(step)[0][0] < 2000


def usage_of_trainings(stack: Stack, since: int) -> dict[str, Any]:
    query: dict[str, Any] = {"start_time": since - 86_400, "group_by": "source", "format": "json"}
    buckets = body(stack.client.get("/v1/organization/usage/images", params=query))["data"]
    results = [result for bucket in buckets for result in bucket["results"] if result["source"] == "fine_tuning"]
    return {name: sum(result[name] for result in results) for name in ("num_model_requests", "bytes", "device_seconds")}


def test_trainings_count_into_device_seconds_and_usage(safelight: Stack, trainer: TrainingWorker) -> None:
    file = upload(safelight, lines(*map(a_line, COLOURS)))
    safelight.database.execute(limits.change(DEFAULT_PROJECT, {"device_seconds_per_day": 1000.0}))
    until(lambda: body(safelight.client.get("/v1/organization/limits"))["data"])

    def create(**hyperparameters: int) -> httpx.Response:
        request = {"training_file": file, "model": "tiny-sdxl", "hyperparameters": hyperparameters}
        return safelight.client.post("/v1/fine_tuning/jobs", json=request)

    first = body(create(steps=600))  # at a second each
    refusal = create(steps=600)
    assert (refusal.status_code, body(refusal)["error"]["type"]) == (429, "insufficient_quota")
    assert refusal.headers["x-should-retry"] == "false"
    assert "this request needs 600; nothing was stored. The limit is reset" in body(refusal)["error"]["message"]
    safelight.client.post(f"/v1/fine_tuning/jobs/{first['id']}/cancel")

    # Two thousand steps, as the training file says; the request reserves twelve.
    job = body(create(n_epochs=1000))
    assert trainer.run_once()
    final = body(safelight.client.get(f"/v1/fine_tuning/jobs/{job['id']}"))
    assert (final["status"], final["error"]["code"]) == ("failed", "insufficient_quota")

    before = usage_of_trainings(safelight, first["created_at"])
    job = body(create(steps=3))
    assert trainer.run_once()
    assert trainer.run_once()
    after = usage_of_trainings(safelight, first["created_at"])
    of_job = fine_tuned_models.c.fine_tuning_job_id == job["id"]
    sizes = safelight.database.execute(sa.select(fine_tuned_models.c.bytes).where(of_job))
    assert after["num_model_requests"] - before["num_model_requests"] == 1
    assert after["bytes"] - before["bytes"] == sum(size for (size,) in sizes) > 0
    assert after["device_seconds"] > before["device_seconds"]
