"""A whole Safelight on S3: images go there, links lead there."""

import io
from pathlib import Path

from PIL import Image

from tests.images import an_image, data_url, encode, upload
from tests.object_store import ObjectStore
from tests.stack import Stack


def test_images_lie_in_s3_and_links_lead_there(own: Stack, directory: Path) -> None:
    with ObjectStore(directory / "weed-of-a-story") as s3:
        own.environment |= s3.environment
        own.api()
        own.worker()

        job = own.final(own.submit(n=2)["id"])
        pixel_images = [Image.open(io.BytesIO(own.image(image))) for image in job["images"]]
        redirected = own.client.get(f"/v1/images/{job['images'][0]['id']}/content")
        answer = own.client.delete(f"/v1/jobs/{job['id']}")
        after = own.client.get(job["images"][0]["url"])

    assert [pixels.size for pixels in pixel_images] == [(64, 64)] * 2
    assert all(image["url"].startswith(s3.environment["AWS_ENDPOINT_URL"]) for image in job["images"])
    assert redirected.status_code == 302
    assert [answer.status_code, after.status_code] == [200, 404]


def test_files_and_inputs_lie_in_s3_however_large(own: Stack, directory: Path) -> None:
    large = bytes(range(256)) * 60_000  # more than one part of an upload
    with ObjectStore(directory / "weed-of-files") as s3:
        own.environment |= s3.environment
        own.api()
        own.worker()

        file = upload(own, large, "large.bin", purpose="user_data")
        content = own.client.get(f"/v1/files/{file['id']}/content").content
        pixels = {"file_id": upload(own, encode(an_image()))["id"]}
        edits = [own.submit(operation="edit", image=image) for image in (pixels, data_url(an_image()))]
        statuses = [own.final(job["id"])["status"] for job in edits]
        own.client.delete(f"/v1/files/{file['id']}")
        answer = own.client.get(f"/v1/files/{file['id']}")

    assert content == large
    assert statuses == ["completed", "completed"]
    assert answer.status_code == 404
