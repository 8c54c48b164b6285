# ruff: noqa: E501 - a table is read by its columns
"""Whatever is wrong with a request: a refusal that names the field, and nothing is stored."""

from typing import Any

import pytest

from tests.stack import Stack, body

BAD: dict[str, tuple[bytes | dict[str, Any], int, str, str, str]] = {
    # what is sent; status, param, code, and a word that helps
    "unknown size": ({"prompt": "x", "size": "7x7"}, 400, "size", "invalid_value", "64x64, 128x128"),
    "no images": ({"prompt": "x", "n": 0}, 400, "n", "invalid_value", "1"),
    "too many images": ({"prompt": "x", "n": 11}, 400, "n", "invalid_value", "1 to 10"),
    "n as text": ({"prompt": "x", "n": "2"}, 400, "n", "invalid_value", "integer"),
    "NaN seed": (b'{"prompt": "x", "seed": NaN}', 400, "seed", "invalid_value", "integer"),
    "huge seed": ({"prompt": "x", "seed": 2**70}, 400, "seed", "invalid_value", "4294967295"),
    "negative seed": ({"prompt": "x", "seed": -1}, 400, "seed", "invalid_value", "0"),
    "infinite guidance": (b'{"prompt": "x", "guidance_scale": Infinity}', 400, "guidance_scale", "invalid_value", "finite"),
    "guidance out of range": ({"prompt": "x", "guidance_scale": 99}, 400, "guidance_scale", "invalid_value", "0 to 30"),
    "too many steps": ({"prompt": "x", "steps": 1001}, 400, "steps", "invalid_value", "1 to 1000"),
    "NUL in prompt": (b'{"prompt": "a\\u0000b"}', 400, "prompt", "invalid_value", "U+0000"),
    "NUL in metadata": (b'{"prompt": "a", "metadata": {"k": "\\u0000"}}', 400, "metadata.k", "invalid_value", "U+0000"),
    "NUL in a file's id": ({"operation": "variation", "image": {"file_id": "a\0"}}, 400, "image.file_id", "invalid_value", "U+0000"),
    "lone surrogate": (b'{"prompt": "\\ud800"}', 400, "body", "invalid_json", "hex escape"),
    "empty prompt": ({"prompt": ""}, 400, "prompt", "invalid_value", "empty"),
    "blank prompt": ({"prompt": " \n "}, 400, "prompt", "invalid_value", "empty"),
    "no prompt": ({"model": "fake"}, 400, "prompt", "missing_required_parameter", "required"),
    "long prompt": ({"prompt": "a" * 4001}, 400, "prompt", "invalid_value", "4000"),
    "prompt of a megabyte": ({"prompt": "a" * 2**20}, 413, "body", "request_too_large", "1000000 bytes"),
    "unknown model": ({"prompt": "x", "model": "nope"}, 400, "model", "model_not_found", "fake, slow"),
    "unknown field": ({"prompt": "x", "sise": "1"}, 400, "sise", "unknown_parameter", "size"),
    "unknown format": ({"prompt": "x", "output_format": "gif"}, 400, "output_format", "invalid_value", "'webp'"),
    "compressed png": ({"prompt": "x", "output_compression": 5}, 400, "output_compression", "invalid_value", "jpeg"),
    "metadata of numbers": ({"prompt": "x", "metadata": {"a": 1}}, 400, "metadata.a", "invalid_value", "string"),
    "too much metadata": ({"prompt": "x", "metadata": dict.fromkeys("abcdefghijklmnopq", "")}, 400, "metadata", "invalid_value", "16"),
    "broken JSON": (b'{"prompt": ', 400, "body", "invalid_json", "JSON"),
    "an empty body": (b"", 400, "body", "invalid_json", "JSON"),
    "not UTF-8": (b'{"prompt": "\xff"}', 400, "body", "invalid_json", "JSON"),
    "a list": (b"[]", 400, "body", "invalid_request", "object"),
    "deep JSON": (b'{"prompt":' + b"[" * 5000 + b"]" * 5000 + b"}", 400, "body", "invalid_request", "16 lists"),
    "a key twice": (b'{"prompt": "x", "n": 1, "n": 2}', 400, "n", "invalid_value", "twice"),
    "an escaped key twice": (b'{"prompt": "x", "webhook": {"url": "u", "\\u0075rl": "v"}}', 400, "url", "invalid_value", "twice"),
    "half a character twice": (b'{"\\ud800": 1, "\\ud800": 2}', 400, "?", "invalid_value", "twice"),
    "a number without end": (b'{"prompt": "x", "n": ' + b"9" * 5000 + b"}", 400, "body", "invalid_json", "digits"),
    "n of 4000 digits": (b'{"prompt": "x", "n": ' + b"9" * 4000 + b"}", 400, "n", "invalid_value", "1 to 10"),
    "steps of 4000 digits": (b'{"prompt": "x", "steps": ' + b"9" * 4000 + b"}", 400, "steps", "invalid_value", "1 to 1000"),
    "events without end": ({"prompt": "x", "webhook": {"url": "https://a.example", "events": ["x"] * 100_000}}, 400, "body", "invalid_request", "20000 commas"),
    "too many events": ({"prompt": "x", "webhook": {"url": "https://a.example", "events": ["job.failed"] * 21}}, 400, "webhook.events", "invalid_value", "20"),
    "too many keys": ({"prompt": "x", **dict.fromkeys(map(str, range(201)), 0)}, 400, "body", "invalid_request", "200 keys"),
    "a long key": ({"prompt": "x", "k" * 10_000: 0}, 400, "k" * 100 + "…", "unknown_parameter", "Known are"),
    "a long size": ({"prompt": "x", "size": "7" * 10_000}, 400, "size", "invalid_value", "64x64, 128x128"),
    "a long model": ({"prompt": "x", "model": "m" * 10_000}, 400, "model", "model_not_found", "fake, slow"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_request_is_refused_by_name_and_stores_nothing(safelight: Stack, case: str) -> None:
    fields, status, param, code, word = BAD[case]
    before = safelight.count()

    if isinstance(fields, bytes):
        answer = safelight.client.post("/v1/jobs", content=fields)
    else:
        answer = safelight.client.post("/v1/jobs", json=fields)

    error = body(answer)["error"]
    assert (answer.status_code, error["param"], error["code"]) == (status, param, code), error
    assert error["type"] == "invalid_request_error"
    assert word in error["message"]
    assert len(error["message"]) <= 1001
    assert safelight.count() == before


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("/v1/jobs?limit=0", "limit"),
        ("/v1/jobs?limit=ten", "limit"),
        ("/v1/jobs?order=up", "order"),
        ("/v1/jobs?status=lost", "status.0"),
        ("/v1/jobs?sort=id", "sort"),
        ("/v1/jobs?created_after=99999999999999999", "created_after"),
        ("/v1/jobs?model=nope", "model"),
        ("/v1/jobs?after=%00", "after"),
        ("/v1/jobs?after=job_nope", "after"),
        ("/v1/files?after=job_01kc3m9w8yq6k0v2t5x7z1b4dn", "after"),
        ("/v1/batches?after=nope", "after"),
        ("/v1/webhook_endpoints?after=we_nope", "after"),
        ("/v1/webhook_deliveries?job_id=job_x&after=whd_nope", "after"),
        ("/v1/jobs?after=job_01kc3m9w8yq6k0v2t5x7z1b4dn", "after"),
        ("/v1/files?after=file-01kc3m9w8yq6k0v2t5x7z1b4dn", "after"),
        ("/v1/batches?after=batch_01kc3m9w8yq6k0v2t5x7z1b4dn", "after"),
        ("/v1/webhook_endpoints?after=we_01kc3m9w8yq6k0v2t5x7z1b4dn", "after"),
        (f"/v1/webhook_deliveries?job_id=job_x&after=whd_{'0' * 32}", "after"),
        (f"/v1/jobs?after={'a' * 16_384}", "query"),
        ("/v1/files?purpose=a%00b", "purpose"),
        ("/v1/jobs/job_x?wait=61", "wait"),
    ],
)
def test_a_bad_query_is_refused_by_name(safelight: Stack, path: str, param: str) -> None:
    answer = safelight.client.get(path)

    assert (answer.status_code, body(answer)["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    "path",
    ["/v1/jobs/job_x", "/v1/jobs/job_x/events", "/v1/images/img_x", "/v1/images/img_x/content", "/v1/jobs/job%00"],
)
def test_what_does_not_exist_is_a_404_in_the_same_shape(safelight: Stack, path: str) -> None:
    answer = safelight.client.get(path)

    assert answer.status_code == 404
    assert body(answer)["error"].keys() == {"message", "type", "param", "code"}


def test_a_method_that_is_not_taken_is_a_405(safelight: Stack) -> None:
    answer = safelight.client.put("/v1/jobs")

    assert (answer.status_code, body(answer)["error"]["code"]) == (405, "method_not_allowed")
    assert set(answer.headers["allow"].split(", ")) == {"GET", "POST"}


@pytest.mark.parametrize(
    ("field", "value"), [("user", "a\0b"), ("user", "x" * 513), ("dry_run", True), ("response_format", "file")]
)
def test_a_bad_synchronous_call_is_refused_by_name_and_stores_nothing(
    safelight: Stack, field: str, value: object
) -> None:
    before = safelight.count()

    answer = safelight.client.post("/v1/images/generations", json={"prompt": "x", "size": "64x64", field: value})

    assert (answer.status_code, body(answer)["error"]["param"]) == (400, field)
    assert safelight.count() == before
