"""HTTP as clients use it: base URLs with or without `/v1`, HEAD, compressed bodies, a byte order mark."""

import gzip
import json
import zlib
from typing import Any

import httpx
import pytest

from api.edge.compatibility import canonical_path
from tests.images import a_mask, an_image, encode
from tests.stack import Stack, body

GENERATIONS = "/v1/images/generations"
REQUEST = json.dumps({"prompt": "a cat", "size": "64x64"}).encode()
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    "path", ["/images/generations", "/v1/v1/images/generations", "/v1/v1/v1/images/generations", GENERATIONS]
)
def test_a_base_url_may_lack_v1_or_have_it_twice(safelight: Stack, path: str) -> None:
    assert safelight.client.post(path, content=REQUEST, headers=JSON).status_code == 200


def test_only_openais_paths_get_the_missing_v1() -> None:
    for path in ("/sdapi/v1/options", "//sdapi/v1/options", "/v1/sdapi/v1/options", "/v1//sdapi/v1/options"):
        assert canonical_path(path) == "/sdapi/v1/options"
    assert canonical_path("/v1/images/sdapi/v1/x") == "/v1/images/sdapi/v1/x"
    assert canonical_path("/models") == "/v1/models"
    assert canonical_path("/files/file-1/content") == "/v1/files/file-1/content"
    assert canonical_path("/v1/v1") == "/v1"
    for path in ("/", "/v1/v1x", "/healthz", "/imagesx", "/jobs", "/v1/images/img_1/v1/v1"):
        assert canonical_path(path) == path


@pytest.mark.parametrize("call", ["generations", "edits", "variations"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_another_method_than_post_is_a_405_that_says_what_to_send(safelight: Stack, call: str, method: str) -> None:
    answer = safelight.client.request(method, f"/v1/images/{call}")

    assert (answer.status_code, body(answer)["error"]["code"]) == (405, "method_not_allowed")
    assert "POST" in answer.headers["allow"]
    assert "POST" in body(answer)["error"]["message"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/", "/v1/models", "/v1/models/fake", "/v1/jobs", "/v1/files"])
def test_head_is_get_without_a_body(safelight: Stack, path: str) -> None:
    of_get = safelight.client.get(path)
    of_head = safelight.client.head(path)

    assert (of_head.status_code, of_head.content) == (of_get.status_code, b"")
    assert of_head.headers.get("content-type") == of_get.headers.get("content-type")


def test_head_of_an_image_has_its_length_and_head_of_a_stream_ends(safelight: Stack) -> None:
    job = safelight.final(safelight.submit()["id"])
    waiting_job = safelight.submit(model="elsewhere")

    image = safelight.client.head(job["images"][0]["url"])
    events = safelight.client.head(f"/v1/jobs/{waiting_job['id']}/events")
    missing = safelight.client.head("/v1/jobs/job_nope")

    assert (image.status_code, image.headers["content-type"]) == (200, "image/png")
    assert int(image.headers["content-length"]) == job["images"][0]["bytes"]
    assert (events.status_code, events.headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
    assert missing.status_code == 404
    safelight.client.post(f"/v1/jobs/{waiting_job['id']}/cancel")


def test_a_byte_order_mark_is_not_a_part_of_json(safelight: Stack) -> None:
    assert safelight.client.post(GENERATIONS, content=b"\xef\xbb\xbf" + REQUEST, headers=JSON).status_code == 200


def post_encoded(client: httpx.Client, content: bytes, encoding: str) -> Any:
    return client.post("/v1/jobs", content=content, headers=JSON | {"content-encoding": encoding})


def test_a_json_body_may_be_compressed_with_gzip(safelight: Stack) -> None:
    assert post_encoded(safelight.client, gzip.compress(REQUEST), "gzip").status_code == 202


@pytest.mark.parametrize(
    ("content", "encoding", "status", "word"),
    [
        (gzip.compress(b'{"prompt": "' + b"a" * 50_000_000 + b'"}'), "gzip", 413, "larger"),  # 50 kB
        (gzip.compress(REQUEST)[:-9], "gzip", 400, "ends before"),
        (gzip.compress(REQUEST) + b"more", "gzip", 400, "after the end"),
        (REQUEST, "gzip", 400, "not valid gzip"),
        (zlib.compress(REQUEST), "deflate", 415, "gzip"),
        (REQUEST, "br", 415, "'br'"),
    ],
    ids=["too large", "cut off", "with a rest", "not compressed", "deflate", "br"],  # gzip's bytes have the time
)
def test_a_body_that_cannot_be_expanded_is_refused(
    safelight: Stack, content: bytes, encoding: str, status: int, word: str
) -> None:
    answer = post_encoded(safelight.client, content, encoding)

    assert (answer.status_code, body(answer)["error"]["param"]) == (status, "body")
    assert word in body(answer)["error"]["message"]


def test_images_that_an_edit_brings_along_are_not_in_the_list_of_files(safelight: Stack) -> None:
    files = {"image": encode(an_image()), "mask": encode(a_mask())}
    job = safelight.job(body(safelight.client.post("/v1/images/edits", data={"prompt": "x"}, files=files))["job_id"])

    listed_ids = {file["id"] for file in body(safelight.client.get("/v1/files"))["data"]}
    listed_ids |= {file["id"] for file in body(safelight.client.get("/v1/files?purpose=vision"))["data"]}

    assert not listed_ids & {job["image"]["file_id"], job["mask"]["file_id"]}
    assert safelight.client.get(f"/v1/files/{job['image']['file_id']}").status_code == 200
