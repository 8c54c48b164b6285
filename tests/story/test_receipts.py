"""The receipt of an image as a document: it agrees with the file, and opens like the image."""

import hashlib
import io
from importlib.metadata import version
from urllib.parse import urlsplit

from PIL import Image

from core.parameters.infotext import CHUNK, parse
from tests.images import an_image, encode, upload
from tests.stack import Stack, body


def test_a_receipt_agrees_with_the_file_and_with_its_metadata(safelight: Stack) -> None:
    upload_id = upload(safelight, encode(an_image()))["id"]
    source = safelight.client.get(f"/v1/files/{upload_id}/content").content
    fields = {"operation": "edit", "image": {"file_id": upload_id}, "negative_prompt": "rain", "strength": 0.5}
    job = safelight.final(safelight.submit("a dog", seed=40, n=2, **fields)["id"])
    image = job["images"][1]

    receipt = body(safelight.client.get(f"/v1/images/{image['id']}/receipt"))

    file = safelight.image(image)
    assert receipt["file"]["sha256"] == hashlib.sha256(file).hexdigest()
    assert receipt["inputs"] == [
        {"role": "image", "file_id": upload_id, "sha256": hashlib.sha256(source).hexdigest()},
    ]
    assert (receipt["image_id"], receipt["job_id"], receipt["index"]) == (image["id"], job["id"], 1)
    assert (receipt["safelight"], receipt["device"], receipt["dtype"]) == (version("safelight"), "cpu", "uint8")
    assert receipt["timing"]["finished_at"] == job["finished_at"]
    metadata = Image.open(io.BytesIO(file)).info
    texts = parse(metadata[CHUNK])
    parameters = receipt["parameters"]
    assert texts["Prompt"] == receipt["prompt"]
    assert texts["Negative prompt"] == parameters["negative_prompt"]
    assert texts["Model"] == receipt["model"]
    assert int(texts["Seed"]) == parameters["seed"] == 41
    assert int(texts["Steps"]) == parameters["steps"]
    assert float(texts["CFG scale"]) == parameters["guidance_scale"]
    assert float(texts["Denoising strength"]) == parameters["strength"]
    assert f"{texts['Size-1']}x{texts['Size-2']}" == parameters["size"]
    assert f'safelight:seed="{parameters["seed"]}"' in metadata["XML:com.adobe.xmp"]


def test_the_link_of_an_image_opens_its_receipt(guarded: Stack, safelight: Stack) -> None:
    image = safelight.final(safelight.submit()["id"])["images"][0]
    path, query = f"/v1/images/{image['id']}/receipt", urlsplit(image["url"]).query

    assert body(safelight.client.get(f"{path}?{query}"))["prompt"] == "a cat"
    assert safelight.client.get(f"{path}?{query}0").status_code == 401
    assert safelight.client.get("/v1/images/img_0/receipt").status_code == 404
    assert guarded.client.get(path).status_code == 401
