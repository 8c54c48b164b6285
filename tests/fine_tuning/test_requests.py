"""Requests for fine-tuning jobs: what is refused, with the name of the field; what is accepted with a warning."""

from typing import Any

import pytest
import sqlalchemy as sa

from core.tables import fine_tuning_jobs
from tests.contract.pipelines import warnings_of_diffusers
from tests.fine_tuning.files import a_line, lines, upload
from tests.images import an_image, encode
from tests.images import upload as upload_image
from tests.stack import Stack, body
from tests.waiting import until

pytestmark = warnings_of_diffusers
PATH = "/v1/fine_tuning/jobs"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"training_file": None}, "training_file"),
        ({"training_file": "file-00000000000000000000000000"}, "training_file"),
        ({"training_file": "file-\0"}, "training_file"),
        ({"model": "fake"}, "model"),
        ({"model": "nothing"}, "model"),
        ({"suffix": "a b"}, "suffix"),
        ({"seed": -1}, "seed"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"colour": 1}, "colour"),
        ({"hyperparameters": {"steps": 0}}, "hyperparameters.steps"),
        ({"hyperparameters": {"steps": 2001}}, "hyperparameters.steps"),
        ({"hyperparameters": {"steps": 5, "n_epochs": 5}}, "hyperparameters.steps"),
        ({"hyperparameters": {"rank": 1000}}, "hyperparameters.rank"),
        ({"hyperparameters": {"rank": 65}}, "hyperparameters.rank"),
        ({"hyperparameters": {"resolution": 33}}, "hyperparameters.resolution"),
        ({"hyperparameters": {"resolution": 40}}, "hyperparameters.resolution"),
        ({"hyperparameters": {"n_epochs": 10**9}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"batch_size": 33}}, "hyperparameters.batch_size"),
        ({"hyperparameters": {"learning_rate": 2}}, "hyperparameters.learning_rate"),
        ({"method": {"type": "dpo"}}, "method.type"),
        (
            {"method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 0}}}},
            "method.supervised.hyperparameters.n_epochs.constrained-int",
        ),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_stored(safelight: Stack, fields: dict[str, Any], param: str) -> None:
    request = {"training_file": upload(safelight, lines(a_line("red"))), "model": "tiny-sdxl", **fields}
    before = safelight.count(fine_tuning_jobs)
    answer = safelight.client.post(PATH, json=request)
    assert answer.status_code == 400, answer.text
    assert body(answer)["error"]["param"].startswith(param.removesuffix(".constrained-int")), answer.text
    assert safelight.count(fine_tuning_jobs) == before


def test_a_file_of_another_purpose_is_refused(safelight: Stack) -> None:
    file = upload_image(safelight, encode(an_image()))["id"]
    answer = safelight.client.post(PATH, json={"training_file": file, "model": "tiny-sdxl"})
    assert (answer.status_code, body(answer)["error"]["param"]) == (400, "training_file")
    assert "fine-tune" in body(answer)["error"]["message"]


def test_a_key_creates_one_job_and_openais_other_fields_are_warnings(safelight: Stack) -> None:
    file = upload(safelight, lines(a_line("red")))
    request = {
        "training_file": file,
        "validation_file": file,
        "model": "tiny-sdxl",
        "integrations": [{"type": "wandb", "wandb": {"project": "a"}}],
        "hyperparameters": {"n_epochs": "auto", "learning_rate_multiplier": "auto", "batch_size": "auto"},
    }
    answers = [safelight.client.post(PATH, json=request, headers={"idempotency-key": "one"}) for _ in range(2)]
    job, again = map(body, answers)
    assert job == again
    assert answers[1].headers["idempotent-replayed"] == "true"
    assert [warning["param"] for warning in job["warnings"]] == ["validation_file", "integrations"]
    other = safelight.client.post(PATH, json=request | {"seed": 1}, headers={"idempotency-key": "one"})
    assert other.status_code == 422
    events = body(safelight.client.get(f"{PATH}/{job['id']}/events", params={"limit": 2}))
    assert (len(events["data"]), events["has_more"]) == (2, True)
    rest = body(safelight.client.get(f"{PATH}/{job['id']}/events", params={"after": events["data"][-1]["id"]}))
    assert [event["message"] for event in rest["data"]][-1] == f"Created fine-tuning job: {job['id']}"
    assert body(safelight.client.post(f"{PATH}/{job['id']}/cancel"))["status"] == "cancelled"


def test_a_file_with_wrong_lines_fails_with_an_event_for_each(safelight: Stack) -> None:
    content = lines(a_line("red"), {"image": "file-nothing", "text": "a"}, {"text": "a"})
    job = body(safelight.client.post(PATH, json={"training_file": upload(safelight, content), "model": "tiny-sdxl"}))
    safelight.training()

    def final() -> dict[str, Any]:
        return body(safelight.client.get(f"{PATH}/{job['id']}"))

    until(lambda: final()["finished_at"] is not None)
    assert (final()["status"], final()["error"]["code"]) == ("failed", "invalid_training_file")
    events = body(safelight.client.get(f"{PATH}/{job['id']}/events"))["data"]
    errors = [event["data"].get("place") for event in events if event["level"] == "error"]
    assert errors == [None, "line 3", "line 2"]


def test_a_project_has_a_limited_number_of_open_jobs(safelight: Stack) -> None:
    statement = sa.select(sa.func.count()).where(fine_tuning_jobs.c.finished_at.is_(None))
    until(lambda: safelight.database.execute(statement)[0][0] == 0)
    request = {"training_file": upload(safelight, lines(a_line("red"))), "model": "tiny-sdxl"}
    safelight.process("training").kill()
    answers = [safelight.client.post(PATH, json=request) for _ in range(11)]
    assert {answer.status_code for answer in answers[:10]} == {200}
    assert (answers[-1].status_code, body(answers[-1])["error"]["code"]) == (429, "too_many_fine_tuning_jobs")
    for answer in answers[:10]:
        safelight.client.post(f"{PATH}/{body(answer)['id']}/cancel")


@pytest.mark.parametrize("fields", [{"model": "ft:\0"}, {"loras": [{"name": "ft:\0"}]}])
def test_a_name_with_a_nul_is_refused(safelight: Stack, fields: dict[str, Any]) -> None:
    answer = safelight.client.post("/v1/jobs", json={"prompt": "a flag", "size": "32x32", **fields})
    assert answer.status_code == 400, answer.text
