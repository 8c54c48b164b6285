"""A job's images are drawn again from its receipts and compared with the originals."""

import io
from typing import Any

import pytest
import sqlalchemy as sa
from PIL import Image

from core.tables import images, jobs
from tests.images import an_image, data_url
from tests.stack import Stack, body


def reproduce(stack: Stack, job_id: str, **fields: Any) -> dict[str, Any]:
    answer = stack.client.post(f"/v1/jobs/{job_id}/reproduce", json=fields)
    assert answer.status_code == 202, answer.text
    return stack.final(body(answer)["id"])


def test_the_images_of_a_job_are_drawn_again_and_are_identical(safelight: Stack) -> None:
    # No job of another test has as many steps: a neighbour in the micro-batch would be a difference.
    fields: dict[str, Any] = {"seed": 40, "n": 2, "steps": 17, "metadata": {"user": "ann", "shop": "1"}}
    original = safelight.final(safelight.submit(**fields)["id"])
    ids = [image["id"] for image in original["images"]]

    job = reproduce(safelight, original["id"])

    assert job["reproduces"] == {"job_id": original["id"], "image_ids": ids}
    assert (job["metadata"], job["n"], job["seed"]) == ({"user": "ann"}, 2, 40)
    assert job["reproduction"]["identical"] is True
    results = job["reproduction"]["images"]
    assert [result["reproduces"] for result in results] == ids
    assert [result["image_id"] for result in results] == [image["id"] for image in job["images"]]
    assert [result["differences"] for result in results] == [{}, {}]
    assert all(result["identical"] and result["same_file"] for result in results)
    assert "reproduces" not in original
    assert "reproduction" not in original


def test_one_image_of_an_edit_is_drawn_again_with_its_seed_and_its_input(safelight: Stack) -> None:
    edit: dict[str, Any] = {
        "operation": "edit",
        "image": data_url(an_image()),
        "strength": 0.5,
        "output_format": "jpeg",
    }
    original = safelight.final(safelight.submit(seed=40, n=3, **edit)["id"])
    image = original["images"][2]

    job = reproduce(safelight, original["id"], image=image["id"])

    assert (job["n"], job["seed"], job["image"]) == (1, 42, original["image"])
    (result,) = job["reproduction"]["images"]
    assert (result["reproduces"], result["identical"]) == (image["id"], True)
    assert result["differences"] == {"microbatch": {"original": 3, "reproduction": 1}}


def test_what_differs_is_named_and_measured(safelight: Stack) -> None:
    original = safelight.final(safelight.submit(n=2)["id"])
    changed, gone = original["images"]
    file = Image.open(io.BytesIO(safelight.image(changed)))
    file.putpixel((0, 0), tuple(value ^ 16 for value in file.getpixel((0, 0))))  # type: ignore[union-attr]  # RGB
    rows = sa.select(images.c.id, images.c.storage_key).where(images.c.job_id == original["id"])
    keys = {row.id: row.storage_key for row in safelight.database.execute(rows)}
    file.save(safelight.directory / "images" / keys[changed["id"]])
    (safelight.directory / "images" / keys[gone["id"]]).unlink()
    other_receipt = images.c.receipt.op("||")(sa.literal({"dtype": "float64"}, images.c.receipt.type))
    safelight.database.execute(sa.update(images).where(images.c.id == changed["id"]).values(receipt=other_receipt))

    reproduction = reproduce(safelight, original["id"])["reproduction"]

    assert reproduction["identical"] is None
    different, unknown = reproduction["images"]
    assert (different["identical"], different["max_difference"]) == (False, 16)
    assert different["psnr_db"] == pytest.approx(60.17, abs=0.01)  # 10 log10(255² / (16² / 64²))
    assert different["differences"]["dtype"] == {"original": "float64", "reproduction": "uint8"}
    assert unknown["identical"] is None
    assert unknown["reason"].startswith("The original image could not be read")
    safelight.client.delete(f"/v1/jobs/{original['id']}")  # as pages of other tests would show its broken images


def test_a_key_makes_one_job_and_a_dry_run_none(safelight: Stack) -> None:
    job_id = safelight.final(safelight.submit()["id"])["id"]
    path, headers = f"/v1/jobs/{job_id}/reproduce", {"idempotency-key": f"again-{job_id}"}
    before = safelight.count()

    first, second = (safelight.client.post(path, headers=headers) for _ in range(2))

    assert first.status_code == second.status_code == 202
    assert body(first)["id"] == body(second)["id"]
    assert safelight.client.post(path, headers=headers, json={"dry_run": False, "image": "img_1"}).status_code == 422
    estimate = safelight.client.post(path, json={"dry_run": True})
    assert (estimate.status_code, body(estimate)["object"]) == (200, "job.estimate")
    assert safelight.count() == before + 1


def test_what_cannot_be_drawn_again_is_refused_by_name(safelight: Stack) -> None:
    job_id = safelight.final(safelight.submit()["id"])["id"]
    waiting = safelight.submit(model="elsewhere")["id"]

    def refusal(job: str = job_id, change: dict[str, Any] | None = None, **fields: Any) -> tuple[int, str, str | None]:
        if change:
            safelight.database.execute(sa.update(jobs).where(jobs.c.id == job).values(change))
        answer = safelight.client.post(f"/v1/jobs/{job}/reproduce", json=fields)
        error = body(answer)["error"]
        return answer.status_code, error["code"], error["param"]

    assert refusal("job_0") == (404, "not_found", "id")
    assert refusal(waiting) == (409, "job_not_reproducible", None)
    assert refusal(image="img_0") == (400, "invalid_value", "image")
    assert refusal(seed=1) == (400, "unknown_parameter", "seed")
    assert refusal(change={"provider_usd": 0.04}) == (409, "job_not_reproducible", None)
    swirl = jobs.c.parameters.op("||")(sa.literal({"swirl": 1}, jobs.c.parameters.type))
    assert refusal(change={"provider_usd": None, "parameters": swirl}) == (400, "invalid_value", "swirl")
    known = sa.type_coerce(jobs.c.parameters.op("-")("swirl"), jobs.c.parameters.type)
    steps = known.op("||")(sa.literal({"steps": 5000}, jobs.c.parameters.type))
    assert refusal(change={"parameters": steps}) == (400, "invalid_value", "steps")
    assert refusal(change={"model": "gone"}) == (400, "model_not_found", "model")
    assert safelight.client.post(f"/v1/jobs/{waiting}/cancel").status_code == 200
