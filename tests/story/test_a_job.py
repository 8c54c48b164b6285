"""A job from the prompt to the image, as a client sees it."""

import hashlib
import io
import time
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.batches import submit_batch
from tests.stack import Stack, body


def test_a_prompt_becomes_a_job_at_once_and_an_image_soon(safelight: Stack) -> None:
    answer = safelight.client.post("/v1/jobs", json={"prompt": "a cat", "size": "128x128", "seed": 7, "n": 2})

    assert answer.status_code == 202
    new_job = body(answer)
    assert answer.headers["location"] == f"/v1/jobs/{new_job['id']}"
    assert new_job["status"] == "queued"

    job = safelight.final(new_job["id"])
    assert (job["status"], job["attempts"], job["error"]) == ("completed", 1, None)
    assert [image["seed"] for image in job["images"]] == [7, 8]
    for image in job["images"]:
        data = safelight.image(image)
        assert (len(data), hashlib.sha256(data).hexdigest()) == (image["bytes"], image["sha256"])
        assert Image.open(io.BytesIO(data)).size == (128, 128) == (image["width"], image["height"])


def test_polling_with_an_etag_says_when_nothing_is_new(safelight: Stack) -> None:
    job = safelight.final(safelight.submit()["id"])
    first = safelight.client.get(f"/v1/jobs/{job['id']}")

    second_answer = safelight.client.get(f"/v1/jobs/{job['id']}", headers={"if-none-match": first.headers["etag"]})

    assert (second_answer.status_code, second_answer.content) == (304, b"")


def test_a_long_poll_answers_when_the_job_is_final(safelight: Stack) -> None:
    new_job = safelight.submit(model="slow", steps=8)

    job = safelight.job(new_job["id"], wait=60)

    assert job["status"] == "completed"


def test_a_long_poll_that_runs_out_answers_with_the_job_as_it_is(safelight: Stack) -> None:
    job = safelight.submit(model="elsewhere")

    assert safelight.job(job["id"], wait=0.2)["status"] == "queued"


def test_the_same_seed_draws_the_same_image_and_another_seed_another(safelight: Stack) -> None:
    jobs = [safelight.final(safelight.submit(seed=seed)["id"]) for seed in (1, 1, 2)]

    first_hash, second_hash, other_hash = (job["images"][0]["sha256"] for job in jobs)
    assert first_hash == second_hash != other_hash


@pytest.mark.parametrize("output_format", ["png", "webp", "jpeg"])
def test_an_image_says_what_drew_it(safelight: Stack, output_format: str) -> None:
    job = safelight.final(safelight.submit("a cat & <a dog>", seed=3, output_format=output_format)["id"])

    (image,) = job["images"]
    pixels = Image.open(io.BytesIO(safelight.image(image)))
    packet = str(pixels.info.get("xmp") or pixels.info.get("XML:com.adobe.xmp"))
    assert pixels.format == output_format.upper()
    assert image["media_type"] == f"image/{output_format}"
    assert "trainedAlgorithmicMedia" in packet
    assert "a cat &amp; &lt;a dog&gt;" in packet
    names = {"model", "device", "revision", "seed", "steps", "device_seconds", "processing_seconds"}
    assert names <= image["receipt"].keys()


def test_a_dry_run_estimates_and_stores_nothing(safelight: Stack) -> None:
    before = safelight.count()

    answer = safelight.client.post("/v1/jobs", json={"prompt": "x", "n": 4, "steps": 10, "dry_run": True})

    assert answer.status_code == 200
    estimate = body(answer)
    assert estimate == {
        "object": "job.estimate",
        "model": "fake",
        "size": "64x64",
        "steps": 10,
        "guidance_scale": 5.0,
        "n": 4,
        "device_seconds": estimate["device_seconds"],
        "estimated_finish_at": estimate["estimated_finish_at"],
    }
    assert 0 < estimate["device_seconds"] < 4 * 0.1
    assert estimate["estimated_finish_at"] > time.time() - 60
    assert safelight.count() == before


def test_jobs_are_listed_newest_first_by_cursor_and_filter(safelight: Stack) -> None:
    mine: dict[str, Any] = {"metadata": {"story": "listing"}}
    ids = [safelight.submit(f"image {number}", **mine)["id"] for number in range(5)]
    for job_id in ids:
        safelight.final(job_id)
    queued_job = safelight.submit(model="elsewhere", **mine)["id"]

    def page(**query: Any) -> tuple[list[str], bool]:
        answer = safelight.client.get("/v1/jobs", params={"metadata[story]": "listing", **query})
        assert answer.status_code == 200, answer.text
        data = body(answer)
        return [job["id"] for job in data["data"]], data["has_more"]

    assert page() == ([queued_job, *reversed(ids)], False)
    assert page(limit=2) == ([queued_job, ids[4]], True)
    assert page(limit=4, after=ids[4]) == ([ids[3], ids[2], ids[1], ids[0]], False)
    assert page(order="asc", limit=2) == (ids[:2], True)
    assert page(status="queued") == ([queued_job], False)
    assert page(model="dall-e-2", status="completed", limit=1) == ([ids[4]], True)
    assert page(created_after=4_000_000_000) == ([], False)
    assert page(after=ids[0]) == ([], False)

    other_batch = submit_batch(safelight, prompts=["a cat"], model="elsewhere", size="64x64")["id"]
    error = body(safelight.client.get("/v1/jobs", params={"batch_id": other_batch, "after": ids[0]}))["error"]
    assert (error["param"], ids[0] in error["message"], other_batch in error["message"]) == ("after", True, True)
    safelight.client.delete(f"/v1/jobs/{ids[4]}")
    deleted = safelight.client.get("/v1/jobs", params={"after": ids[4]})
    assert (deleted.status_code, body(deleted)["error"]["param"]) == (400, "after")


def test_a_waiting_job_knows_its_place_in_line(safelight: Stack) -> None:
    first = safelight.submit(model="elsewhere", priority=50)
    second = safelight.submit(model="elsewhere", priority=50)
    urgent = safelight.submit(model="elsewhere", priority=60)

    places = [safelight.job(job["id"])["queue_position"] for job in (urgent, first, second)]

    assert places == [0, 1, 2]


def test_a_final_job_can_be_deleted_with_its_files_and_a_waiting_one_cannot(safelight: Stack) -> None:
    job = safelight.final(safelight.submit()["id"])
    queued_job = safelight.submit(model="elsewhere")

    deletion = safelight.client.delete(f"/v1/jobs/{job['id']}")
    refusal = safelight.client.delete(f"/v1/jobs/{queued_job['id']}")

    assert body(deletion) == {"id": job["id"], "object": "job", "deleted": True}
    assert safelight.client.get(f"/v1/jobs/{job['id']}").status_code == 404
    assert safelight.client.get(job["images"][0]["url"]).status_code == 404
    assert not list((safelight.directory / "images" / "jobs").glob(f"{job['id']}/**/*.png"))
    assert (refusal.status_code, body(refusal)["error"]["code"]) == (409, "job_not_final")


def test_a_cancelled_job_can_be_retried_once_with_its_own_seed(safelight: Stack) -> None:
    job = safelight.submit(model="elsewhere", metadata={"a": "b"}, output_format="webp", output_compression=50)
    safelight.client.post(f"/v1/jobs/{job['id']}/cancel")

    answers = [safelight.client.post(f"/v1/jobs/{job['id']}/retry") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [202, 202]
    retried_job, same_job = (body(answer) for answer in answers)
    assert retried_job["id"] == same_job["id"] != job["id"]
    assert retried_job["retried_from"] == job["id"]
    names = ("seed", "prompt", "metadata", "size", "steps", "output_format", "output_compression", "model")
    assert {name: retried_job[name] for name in names} == {name: job[name] for name in names}


def test_a_completed_job_is_not_retried(safelight: Stack) -> None:
    job = safelight.final(safelight.submit()["id"])

    answer = safelight.client.post(f"/v1/jobs/{job['id']}/retry")

    assert (answer.status_code, body(answer)["error"]["code"]) == (409, "job_not_retryable")


def test_a_job_that_waits_too_long_expires(safelight: Stack) -> None:
    job = safelight.submit(model="elsewhere", expires_after=1)

    assert safelight.final(job["id"])["status"] == "expired"


def test_an_image_link_works_until_it_is_tampered_with(safelight: Stack) -> None:
    (image,) = safelight.final(safelight.submit()["id"])["images"]
    good = httpx.URL(image["url"])

    record = safelight.client.get(f"/v1/images/{image['id']}")
    fetched = safelight.client.get(good)
    cached_answer = safelight.client.get(good, headers={"if-none-match": fetched.headers["etag"]})
    later = safelight.client.get(good.copy_set_param("expires", int(good.params["expires"]) + 1))
    other_answer = safelight.client.get(good.copy_set_param("signature", "0" * 64))

    assert body(record) == image
    assert fetched.headers["content-type"] == "image/png"
    assert fetched.headers["x-content-type-options"] == "nosniff"
    assert cached_answer.status_code == 304
    assert [later.status_code, other_answer.status_code] == [401, 401]


def test_models_list_what_they_can_do(safelight: Stack) -> None:
    models = body(safelight.client.get("/v1/models"))
    by_alias = body(safelight.client.get("/v1/models/dall-e-2"))
    missing = safelight.client.get("/v1/models/nope")

    assert [model["id"] for model in models["data"] if model["alias_of"] is None] == ["fake", "slow", "elsewhere"]
    assert (by_alias["alias_of"], by_alias["object"]) == ("fake", "model")
    assert by_alias["sizes"] == ["64x64", "128x128", "256x256"]
    assert (missing.status_code, body(missing)["error"]["code"]) == (404, "not_found")


def test_every_answer_carries_a_request_id_and_keeps_the_clients(safelight: Stack) -> None:
    ours = safelight.client.get("/healthz")
    theirs = safelight.client.get("/nowhere", headers={"x-request-id": "trace-1"})

    assert ours.headers["x-request-id"].startswith("req_")
    assert theirs.headers["x-request-id"] == "trace-1"
    assert body(theirs)["error"]["code"] == "not_found"
