"""A whole Safelight on S3: pictures go there, links lead there."""

import io
from pathlib import Path

from PIL import Image

from tests.object_store import ObjectStore
from tests.stack import Stack


def test_pictures_lie_in_s3_and_links_lead_there(own: Stack, directory: Path) -> None:
    with ObjectStore(directory / "weed-of-a-story") as s3:
        own.environment |= s3.environment
        own.api()
        own.worker()

        job = own.final(own.submit(n=2)["id"])
        pictures = [Image.open(io.BytesIO(own.picture(image))) for image in job["images"]]
        redirected = own.client.get(f"/v1/images/{job['images'][0]['id']}/content")
        gone = own.client.delete(f"/v1/jobs/{job['id']}")
        after = own.client.get(job["images"][0]["url"])

    assert [picture.size for picture in pictures] == [(64, 64)] * 2
    assert all(image["url"].startswith(s3.environment["AWS_ENDPOINT_URL"]) for image in job["images"])
    assert redirected.status_code == 302
    assert [gone.status_code, after.status_code] == [200, 404]
