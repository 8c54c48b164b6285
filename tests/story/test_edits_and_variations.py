"""Jobs that begin with an image: how it comes in, where it may be changed, and what is refused."""

import base64
from typing import Any

import pytest
import sqlalchemy as sa
from PIL import Image

from core.tables import files
from tests.images import a_mask, an_image, data_url, decode, encode, same, upload
from tests.stack import Stack, body

LEFT, RIGHT = (0, 0, 32, 64), (32, 0, 64, 64)


def draw_job(stack: Stack, job: dict[str, Any]) -> Image.Image:
    final = stack.final(job["id"])
    assert final["status"] == "completed", final["error"]
    return decode(stack.image(final["images"][0]))


def edit(stack: Stack, **fields: Any) -> dict[str, Any]:
    return stack.submit("a dog", **{"operation": "edit", "strength": 1.0, **fields})


def vary(stack: Stack, **fields: Any) -> dict[str, Any]:
    answer = stack.client.post("/v1/jobs", json={"operation": "variation", "size": "64x64", **fields})
    assert answer.status_code == 202, answer.text
    return body(answer)


def test_an_edit_draws_where_the_mask_is_transparent_and_nowhere_else(safelight: Stack) -> None:
    pixels = an_image()
    image = {"file_id": upload(safelight, encode(pixels))["id"]}
    mask = {"file_id": upload(safelight, encode(a_mask()))["id"]}

    job = edit(safelight, image=image, mask=mask, strength=0.9)

    assert (job["operation"], job["image"], job["mask"], job["strength"]) == ("edit", image, mask, 0.9)
    result = draw_job(safelight, job)
    assert same(result, pixels, LEFT)
    assert not same(result, pixels, RIGHT)


def test_an_opaque_mask_is_drawn_on_where_it_is_white(safelight: Stack) -> None:
    image, mask = an_image(), Image.new("L", (64, 64), 0)
    mask.paste(255, LEFT)

    result = draw_job(safelight, edit(safelight, image=data_url(image), mask=data_url(mask)))

    assert same(result, image, RIGHT)
    assert not same(result, image, LEFT)


def test_a_transparent_image_is_its_own_mask(safelight: Stack) -> None:
    image = an_image()
    transparent_image = image.convert("RGBA")
    transparent_image.putalpha(a_mask().getchannel("A"))

    job = edit(safelight, image=data_url(transparent_image))

    assert job["mask"] == job["image"]
    result = draw_job(safelight, job)
    assert same(result, image, LEFT)
    assert not same(result, image, RIGHT)


def test_an_edit_without_a_mask_goes_as_far_as_the_models_strength(safelight: Stack) -> None:
    image = data_url(an_image())

    default = safelight.submit("a dog", operation="edit", image=image, model="slow", steps=1)

    assert (default["strength"], default["mask"]) == (0.5, None)
    faint, strong = (draw_job(safelight, edit(safelight, image=image, seed=1, strength=much)) for much in (0.01, 1.0))
    alone = draw_job(safelight, safelight.submit("a dog", seed=1))
    assert same(strong, alone, (0, 0, 64, 64))
    assert not same(faint, alone, (0, 0, 64, 64))


def test_a_variation_needs_no_prompt_and_follows_its_image(safelight: Stack) -> None:
    jobs = [vary(safelight, image=data_url(an_image(colour=colour)), seed=1) for colour in ("teal", "teal", "navy")]

    first_image, repeated_image, other_image = (draw_job(safelight, job) for job in jobs)

    assert [job["prompt"] for job in jobs] == [""] * 3
    assert first_image.tobytes() == repeated_image.tobytes() != other_image.tobytes()


def test_an_image_of_an_earlier_job_is_copied_so_that_its_deletion_harms_nobody(safelight: Stack) -> None:
    first = safelight.final(safelight.submit()["id"])
    queued_job = vary(safelight, model="elsewhere", image={"image_id": first["images"][0]["id"]})
    second_job = vary(safelight, image={"image_id": first["images"][0]["id"]})
    original = decode(safelight.image(first["images"][0]))

    safelight.client.delete(f"/v1/jobs/{first['id']}")

    content = safelight.client.get(f"/v1/files/{queued_job['image']['file_id']}/content").content
    record = body(safelight.client.get(f"/v1/files/{queued_job['image']['file_id']}"))
    assert decode(content).tobytes() == original.tobytes()
    assert (record["purpose"], record["filename"]) == ("vision", "image.png")
    assert record["expires_at"] > queued_job["expires_at"]
    assert safelight.final(second_job["id"])["status"] == "completed"


def test_the_middle_of_an_image_is_cut_to_the_shape_of_the_job(safelight: Stack) -> None:
    wide = Image.new("RGB", (256, 64), "red")
    wide.paste("blue", (96, 0, 160, 64))

    result = draw_job(safelight, edit(safelight, image=data_url(wide), strength=0.01))

    red, _green, blue = result.getpixel((32, 32))  # type: ignore[misc]  # of an RGB image it is a triple
    assert blue > 200 > 50 > red
    assert result.getpixel((2, 32))[2] > 200  # type: ignore[index]


def test_a_photograph_comes_in_upright_and_says_nothing_of_its_camera(safelight: Stack) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Leica"  # turn by 90 degrees; the maker
    photograph = encode(an_image((64, 32)), "JPEG", exif=exif)
    url = {"image_url": "data:image/jpeg;base64," + base64.b64encode(photograph).decode()}

    job = vary(safelight, image=url)

    content = safelight.client.get(f"/v1/files/{job['image']['file_id']}/content").content
    assert decode(content).size == (32, 64)
    assert b"Leica" not in content


def test_edits_with_different_images_share_a_pass_and_keep_apart(own: Stack) -> None:
    own.api()
    images = [an_image(colour=colour) for colour in ("teal", "navy", "olive")]
    jobs = [edit(own, image=data_url(image), mask=data_url(a_mask())) for image in images]
    own.worker()

    finals = [own.final(job["id"]) for job in jobs]

    assert [job["images"][0]["receipt"]["microbatch"] for job in finals] == [3, 3, 3]
    for job, image in zip(finals, images, strict=True):
        assert same(decode(own.image(job["images"][0])), image, LEFT)


def test_a_job_whose_image_is_gone_fails_alone(own: Stack) -> None:
    own.api()
    ids = [upload(own, encode(an_image()))["id"] for _ in range(3)]
    jobs = [edit(own, image={"file_id": file_id}) for file_id in ids]
    own.client.delete(f"/v1/files/{ids[1]}")
    own.worker()

    first, failed_job, last = (own.final(job["id"]) for job in jobs)
    retry = own.client.post(f"/v1/jobs/{failed_job['id']}/retry")

    assert [first["status"], failed_job["status"], last["status"]] == ["completed", "failed", "completed"]
    assert (failed_job["error"]["code"], failed_job["attempts"]) == ("input_unavailable", 1)
    assert ids[1] in failed_job["error"]["message"]
    assert (retry.status_code, body(retry)["error"]["param"]) == (400, "image.file_id")


def test_a_cancelled_edit_is_retried_with_its_images(safelight: Stack) -> None:
    job = edit(safelight, model="elsewhere", image=data_url(an_image()), mask=data_url(a_mask()), strength=0.3)
    safelight.client.post(f"/v1/jobs/{job['id']}/cancel")

    retried_job = body(safelight.client.post(f"/v1/jobs/{job['id']}/retry"))

    same_as_before = ("operation", "image", "mask", "strength", "seed", "prompt", "postprocess")
    assert {name: retried_job[name] for name in same_as_before} == {name: job[name] for name in same_as_before}


def test_a_repeated_request_keeps_its_images_once(safelight: Stack) -> None:
    before = safelight.count(files), objects(safelight)
    request = {"operation": "edit", "prompt": "x", "size": "64x64", "image": data_url(an_image())}
    headers = {"idempotency-key": "an-edit"}

    answers = [safelight.client.post("/v1/jobs", json=request, headers=headers) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [202, 202]
    assert body(answers[0])["id"] == body(answers[1])["id"]
    assert (safelight.count(files), objects(safelight)) == (before[0] + 1, before[1] + 1)


def test_a_dry_run_with_an_image_stores_neither(safelight: Stack) -> None:
    before = safelight.count(), safelight.count(files), objects(safelight)
    request = {"operation": "edit", "prompt": "x", "image": data_url(an_image()), "dry_run": True}

    answer = safelight.client.post("/v1/jobs", json=request)

    assert (answer.status_code, body(answer)["object"]) == (200, "job.estimate")
    assert (safelight.count(), safelight.count(files), objects(safelight)) == before


def objects(stack: Stack) -> int:
    return len(list((stack.directory / "images" / "files").glob("*")))


def url(data: bytes) -> dict[str, str]:
    return {"image_url": "data:;base64," + base64.b64encode(data).decode()}


IMAGE = data_url(an_image())
EDIT: dict[str, Any] = {"operation": "edit", "prompt": "x", "image": IMAGE}
VARIATION: dict[str, Any] = {"operation": "variation", "image": IMAGE}
MOVING = encode(an_image(), "WEBP", save_all=True, append_images=[an_image(colour="navy")])
BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    # what is sent; param, and a word that helps
    "an unknown operation": ({"prompt": "x", "operation": "inpaint"}, "operation", "'variation'"),
    "an edit without an image": ({"prompt": "x", "operation": "edit"}, "image", "required"),
    "an edit without a prompt": ({"operation": "edit", "image": IMAGE}, "prompt", "required"),
    "a generation with an image": ({"prompt": "x", "image": IMAGE}, "image", "edit or variation"),
    "a generation with a strength": ({"prompt": "x", "strength": 0.5}, "strength", "edit"),
    "a variation without an image": ({"operation": "variation"}, "image", "required"),
    "a variation with a prompt": (VARIATION | {"prompt": "x"}, "prompt", "not variation"),
    "a variation with a mask": (VARIATION | {"mask": data_url(a_mask())}, "mask", "edit"),
    "a variation with a negative prompt": (VARIATION | {"negative_prompt": "x"}, "negative_prompt", "not variation"),
    "a model without variations": (VARIATION | {"model": "slow"}, "operation", "fake, elsewhere"),
    "no strength": (EDIT | {"strength": 0}, "strength", "greater than 0"),
    "too much strength": (EDIT | {"strength": 1.1}, "strength", "less than or equal to 1"),
    "a URL": (EDIT | {"image": {"image_url": "https://example.com/a.png"}}, "image.image_url", "POST /v1/files"),
    "half a data URL": (EDIT | {"image": {"image_url": "data:image/png;base64,@"}}, "image.image_url", "base64"),
    "two images in one": (EDIT | {"image": {"file_id": "a", "image_id": "b"}}, "image", "one of"),
    "no image at all": (EDIT | {"image": {}}, "image", "one of"),
    "a misspelt source": (EDIT | {"image": {"fileid": "a"}}, "image.fileid", "file_id, image_id"),
    "a file that is not there": (EDIT | {"image": {"file_id": "file-x"}}, "image.file_id", "file-x"),
    "an image that is not there": (EDIT | {"image": {"image_id": "img_x"}}, "image.image_id", "img_x"),
    "a TIFF": (EDIT | {"image": url(encode(an_image(), "TIFF"))}, "image", "PNG, JPEG, WebP, GIF, AVIF or HEIC"),
    "a moving image": (EDIT | {"image": url(MOVING)}, "image", "animation"),
    "half an image": (EDIT | {"image": url(encode(Image.effect_noise((64, 64), 90))[:2000])}, "image", "truncated"),
    "a bomb": (EDIT | {"image": url(encode(Image.new("1", (8000, 4001))))}, "image", "8000x4001"),
    "a mask of another size": (EDIT | {"mask": data_url(a_mask((32, 32)))}, "mask", "32x32"),
    "a mask that allows nothing": (EDIT | {"mask": data_url(Image.new("L", (64, 64), 0))}, "mask", "nothing"),
    "four previews": ({"prompt": "x", "partial_images": 4}, "partial_images", "3"),
    "an unknown filter": ({"prompt": "x", "postprocess": {"blur": 1}}, "postprocess.blur", "denoise"),
    "an unknown factor": ({"prompt": "x", "postprocess": {"upscale": 3}}, "postprocess.upscale", "2 or 4"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_request_is_refused_by_name_and_nothing_is_stored(safelight: Stack, case: str) -> None:
    fields, param, word = BAD[case]
    before = safelight.count(), safelight.count(files), objects(safelight)

    answer = safelight.client.post("/v1/jobs", json=fields)

    error = body(answer)["error"]
    assert (answer.status_code, error["param"]) == (400, param), error
    assert word in error["message"]
    assert (safelight.count(), safelight.count(files), objects(safelight)) == before


def test_another_projects_file_is_no_image_of_ours(safelight: Stack) -> None:
    mine = upload(safelight, encode(an_image()))["id"]
    with safelight.database.transaction() as connection:
        connection.execute(sa.text("INSERT INTO projects (id, name) VALUES ('proj_of_files', 'other')"))
        connection.execute(sa.update(files).where(files.c.id == mine).values(project_id="proj_of_files"))

    answer = safelight.client.post("/v1/jobs", json=EDIT | {"image": {"file_id": mine}})

    assert (answer.status_code, body(answer)["error"]["param"]) == (400, "image.file_id")
    assert safelight.client.get(f"/v1/files/{mine}").status_code == 404
