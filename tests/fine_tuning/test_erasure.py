"""An erasure deletes the trainings of an end user: jobs, events, models, objects and the training file."""

import sqlalchemy as sa

from core.erasures import records
from core.erasures.records import NewErasure
from core.fine_tuning.names import job_prefix
from core.storage import Storage
from core.tables import DEFAULT_PROJECT, fine_tuned_models, fine_tuning_events, fine_tuning_jobs
from tests.contract.pipelines import warnings_of_diffusers
from tests.fine_tuning.files import a_line, lines, upload
from tests.stack import Stack, body
from worker.sweep.erase import Eraser

pytestmark = warnings_of_diffusers
PATH = "/v1/fine_tuning/jobs"


def create(stack: Stack, file: str, user: str) -> str:
    request = {"training_file": file, "model": "tiny-sdxl", "metadata": {"user": user}}
    answer = stack.client.post(PATH, json=request, headers={"idempotency-key": f"{user}-{file}"})
    assert answer.status_code == 200, answer.text
    return str(body(answer)["id"])


def test_an_erasure_covers_trainings_but_those_of_others(safelight: Stack) -> None:
    own, shared = (upload(safelight, lines(a_line("red"))) for _ in range(2))
    erased_jobs = [create(safelight, file, "ada") for file in (own, shared)]
    other_job = create(safelight, shared, "bob")
    storage = Storage(safelight.settings)
    for job_id in (*erased_jobs, other_job):
        storage.put(f"{job_prefix(job_id)}a/lora.safetensors", b"weights", "application/octet-stream")
    model = {
        "id": "ft:tiny-sdxl:proj_default::00000000",
        "project_id": "proj_default",
        "fine_tuning_job_id": erased_jobs[0],
        "model": "tiny-sdxl",
        "step": 1,
        "metrics": {},
        "storage_key": f"{job_prefix(erased_jobs[0])}a/lora.safetensors",
        "bytes": 7,
        "sha256": "0" * 64,
    }
    safelight.database.execute(sa.insert(fine_tuned_models).values(model))

    erasure = body(safelight.client.post("/v1/erasures", json={"user": "ada"}))
    eraser = Eraser(safelight.settings)
    for _ in eraser.erase_all():
        pass
    eraser.close()

    counts = body(safelight.client.get(f"/v1/erasures/{erasure['id']}"))["counts"]
    assert {name: counts[name] for name in ("fine_tuning_jobs", "files", "objects")} == {
        "fine_tuning_jobs": 2, "files": 1, "objects": 3
    }  # fmt: skip
    for job_id in erased_jobs:
        assert safelight.client.get(f"{PATH}/{job_id}").status_code == 404
        assert not list(storage.list(job_prefix(job_id)))
    of_erased = fine_tuning_events.c.fine_tuning_job_id.in_(erased_jobs)
    assert not safelight.database.execute(sa.select(fine_tuning_events.c.id).where(of_erased))
    assert not safelight.count(fine_tuned_models)
    assert safelight.client.get(f"/v1/files/{own}").status_code == 404
    assert safelight.client.get(f"/v1/files/{shared}").status_code == 200
    assert safelight.client.get(f"{PATH}/{other_job}").status_code == 200
    repeated = safelight.client.post(
        PATH,
        json={"training_file": shared, "model": "tiny-sdxl", "metadata": {"user": "ada"}},
        headers={"idempotency-key": f"ada-{shared}"},
    )
    assert repeated.status_code == 404
    safelight.client.post(f"{PATH}/{other_job}/cancel")
    assert safelight.count(fine_tuning_jobs) == 1


def test_an_erasure_of_a_project_covers_its_trainings(safelight: Stack) -> None:
    file = upload(safelight, lines(a_line("red")))
    job_id = create(safelight, file, "cleo")
    storage = Storage(safelight.settings)
    storage.put(f"{job_prefix(job_id)}a/state-1.safetensors", b"state", "application/octet-stream")
    safelight.database.execute(records.submit(NewErasure(DEFAULT_PROJECT, "project", DEFAULT_PROJECT)))
    eraser = Eraser(safelight.settings)
    for _ in eraser.erase_all():
        pass
    eraser.close()
    assert safelight.client.get(f"{PATH}/{job_id}").status_code == 404
    assert not safelight.count(fine_tuning_jobs)
    assert not safelight.count(fine_tuning_events)
    assert not list(storage.list(job_prefix(job_id)))
    assert safelight.client.get(f"/v1/files/{file}").status_code == 404
