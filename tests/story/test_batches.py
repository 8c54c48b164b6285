"""Batches through the SDK, as prompts or requests, and from a table: validated, cancelled, retried, downloaded."""

import csv
import io
import json
import re
import zipfile
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import openai
import pytest
import sqlalchemy as sa
from PIL import Image

from core.tables import jobs
from tests.batches import LINE, file_lines, jsonl, request_lines, submit_batch, until_batch
from tests.images import an_image, encode, upload
from tests.stack import Stack, body


@pytest.fixture
def client(safelight: Stack) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{safelight.url}/v1", api_key="anything") as client:
        yield client


def test_the_guides_code_runs_on_images_from_start_to_output_file(safelight: Stack, client: openai.OpenAI) -> None:
    file = client.files.create(file=("batch.jsonl", jsonl(*request_lines(20, model="dall-e-2"))), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/images/generations",
        completion_window="24h",
        metadata={"description": "nightly"},
    )
    assert batch.status == "validating"
    until_batch(safelight, batch.id)
    batch = client.batches.retrieve(batch.id)
    assert batch.output_file_id is not None
    answers = [json.loads(line) for line in client.files.content(batch.output_file_id).text.splitlines()]
    batch_ids = [entry.id for entry in client.batches.list(limit=1) if entry.id == batch.id]

    assert (batch.status, batch.object, batch.endpoint) == ("completed", "batch", "/v1/images/generations")
    assert (batch.metadata, batch.model, batch.error_file_id) == ({"description": "nightly"}, "fake", None)
    assert batch.request_counts is not None
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (20, 20, 0)
    assert batch.expires_at == batch.created_at + 24 * 3600
    assert all([batch.in_progress_at, batch.finalizing_at, batch.completed_at])
    assert batch_ids == [batch.id]
    assert [answer["custom_id"] for answer in answers] == [f"request-{n}" for n in range(20)]
    first = answers[0]
    assert first["error"] is None
    assert (first["response"]["status_code"], first["id"][:10]) == (200, "batch_req_")
    assert first["response"]["request_id"] == first["response"]["body"]["job_id"]
    image = httpx.get(first["response"]["body"]["data"][0]["url"])
    assert Image.open(io.BytesIO(image.content)).size == (64, 64)


def test_prompts_are_in_line_when_the_answer_comes(safelight: Stack) -> None:
    prompts = [f"cat\tnumber \\{n}\nwith ümläuts 猫" for n in range(100)]

    batch = submit_batch(safelight, prompts=prompts, size="64x64", metadata={"a": "b"})
    safelight.client.get(f"/v1/jobs?batch_id={batch['id']}&limit=1")
    final_batch = until_batch(safelight, batch["id"])

    assert batch["status"] == "in_progress"
    assert batch["request_counts"]["total"] == 100
    assert batch["device_seconds"] == pytest.approx(100 * 0.01 * (64 * 64) / (64 * 64), rel=0.05)
    assert final_batch["request_counts"]["completed"] == 100
    jobs_page = body(safelight.client.get("/v1/jobs", params={"batch_id": batch["id"], "order": "asc", "limit": 100}))
    assert [job["prompt"] for job in jobs_page["data"]] == prompts
    assert [job["custom_id"] for job in jobs_page["data"]] == [f"line-{n + 1}" for n in range(100)]
    assert len({job["seed"] for job in jobs_page["data"]}) > 90


def test_requests_may_each_say_their_own(safelight: Stack) -> None:
    pixels = upload(safelight, encode(an_image((64, 64))))
    batch = submit_batch(
        safelight,
        requests=[
            {"custom_id": "two", "prompt": "a cat", "n": 2, "seed": 7},
            {"prompt": "a dog", "postprocess": {"upscale": 2}, "size": "128x128"},
            {"custom_id": "edit", "operation": "edit", "prompt": "a hat", "image": {"file_id": pixels["id"]}},
            {"custom_id": "like", "operation": "variation", "image": {"file_id": pixels["id"]}},
        ],
        size="64x64",
        response_format="b64_json",
    )
    final_batch = until_batch(safelight, batch["id"])
    answers = {
        line["custom_id"]: line["response"]["body"] for line in file_lines(safelight, final_batch["output_file_id"])
    }

    assert final_batch["status"] == "completed", file_lines(safelight, final_batch["error_file_id"])
    assert final_batch["input_file_id"] is not None
    assert list(answers) == ["two", "line-2", "edit", "like"]
    assert [image["seed"] for image in answers["two"]["images"]] == [7, 8]
    assert [answers[name]["operation"] for name in answers] == ["generation", "generation", "edit", "variation"]
    assert answers["line-2"]["images"][0]["width"] == 256
    assert all(answer["images"][0]["b64_json"] for answer in answers.values())


def test_a_table_is_a_batch_too(safelight: Stack) -> None:
    table = 'custom_id,prompt,n,postprocess.upscale,metadata.shelf\nfirst,"a cat,\nof two lines",2,,top\n,a dog,,2,\n\n'
    file = upload(safelight, b"\xef\xbb\xbf" + table.encode(), "prompts.csv", purpose="batch")
    text = upload(safelight, "ein Hund\n\n  二只猫  \n".encode(), "prompts.txt", purpose="batch")

    batch = submit_batch(safelight, input_file_id=file["id"], endpoint="/v1/jobs", size="64x64")
    lines = file_lines(safelight, until_batch(safelight, batch["id"])["output_file_id"])
    text_batch = submit_batch(safelight, input_file_id=text["id"], size="64x64")
    answers = file_lines(safelight, until_batch(safelight, text_batch["id"])["output_file_id"])

    jobs_of = {line["custom_id"]: line["response"]["body"] for line in lines}
    assert list(jobs_of) == ["first", "line-3"]
    assert (jobs_of["first"]["prompt"], jobs_of["first"]["n"]) == ("a cat,\nof two lines", 2)
    assert jobs_of["first"]["metadata"] == {"shelf": "top"}
    assert jobs_of["line-3"]["images"][0]["width"] == 128
    assert [line["custom_id"] for line in answers] == ["line-1", "line-3"]


def test_how_a_file_was_read_is_told_by_the_dry_run_and_the_batch(safelight: Stack) -> None:
    content = "Prompt;Notes\r\nEin Hündchen;schön\r\n;\r\n".encode("cp1252")
    file = upload(safelight, content, "prompts.txt", purpose="batch")
    fields = {"input_file_id": file["id"], "extra_columns": "metadata", "size": "64x64"}

    dry = submit_batch(safelight, **fields, dry_run=True)
    batch = submit_batch(safelight, **fields)
    final_batch = until_batch(safelight, batch["id"])
    refused = until_batch(safelight, submit_batch(safelight, input_file_id=file["id"])["id"])
    jobs_page = body(safelight.client.get("/v1/jobs", params={"batch_id": batch["id"]}))

    assert batch["input"] is None
    assert final_batch["input"] == dry["input"] | {"example": None}
    assert dry["input"] == {
        "format": "csv", "encoding": "cp1252", "encoding_is_guess": True, "example": "Ein Hündchen;schön",
        "separator": ";", "sheet": None, "has_header": True, "empty_rows": 1, "metadata_columns": ["Notes"],
    }  # fmt: skip
    assert [(job["prompt"], job["metadata"]) for job in jobs_page["data"]] == [("Ein Hündchen", {"Notes": "schön"})]
    assert [(error["line"], error["code"], error["param"]) for error in refused["errors"]["data"]] == [
        (1, "unknown_parameter", "Notes")
    ]
    assert (refused["input"]["encoding"], refused["input"]["example"]) == ("cp1252", "Ein Hündchen;schön")


def test_every_line_that_is_wrong_is_named_and_nothing_runs(safelight: Stack) -> None:
    good = LINE | {"body": {"prompt": "a cat"}}
    content = b"".join(
        [
            jsonl(good, good | {"custom_id": "cat"}, good | {"custom_id": "b", "body": {"prompt": "x", "size": "9x9"}}),
            b'{"custom_id": \n',
            b'{"custom_id": "\xff", "method": "POST", "url": "/v1/images/generations", "body": {}}\n',
            jsonl(
                good | {"custom_id": "c", "body": {"prompt": "x", "model": "dall-e-9"}},
                good | {"custom_id": "d", "body": {"prompt": "x", "strange": 1}},
                good | {"custom_id": "e", "url": "/v1/embeddings"},
                good | {"custom_id": "f", "body": {"prompt": "x", "stream": True}},
                good | {"custom_id": "g", "body": {}},
                {"method": "POST", "url": "/v1/images/generations", "body": {"prompt": "x"}},
            ),
        ]
    )
    file = upload(safelight, content, "bad.jsonl", purpose="batch")
    batch = submit_batch(safelight, input_file_id=file["id"], endpoint="/v1/images/generations")
    failed_batch = until_batch(safelight, batch["id"])
    dry = submit_batch(safelight, input_file_id=file["id"], endpoint="/v1/images/generations", dry_run=True)

    assert failed_batch["status"] == "failed"
    assert [(error["line"], error["code"], error["param"]) for error in failed_batch["errors"]["data"]] == [
        (2, "duplicate_custom_id", "custom_id"),
        (3, "invalid_value", "size"),
        (4, "invalid_json", None),
        (5, "invalid_json", None),
        (6, "model_not_found", "model"),
        (7, "unknown_parameter", "strange"),
        (8, "invalid_value", "url"),
        (9, "invalid_value", "stream"),
        (10, "missing_required_parameter", "prompt"),
        (11, "missing_required_parameter", "custom_id"),
    ]
    assert dry["errors"] == failed_batch["errors"]
    assert (dry["total"], dry["images"]) == (11, 1)
    rows = safelight.database.execute(sa.select(jobs.c.id).where(jobs.c.batch_id == batch["id"]))
    assert rows == []


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "input_file_id"),
        ({"prompts": ["a"], "requests": [{"prompt": "a"}]}, "requests"),
        ({"prompts": ["a cat", "  "]}, "prompts.1"),
        ({"prompts": ["a", "b\x00"]}, "prompts.1"),
        ({"prompts": []}, "prompts"),
        ({"prompts": ["a"], "size": "1x1"}, "size"),
        ({"prompts": ["a"], "endpoint": "/v1/images/edits"}, "endpoint"),
        ({"prompts": ["a"], "endpoint": "/v1/embeddings"}, "endpoint"),
        ({"prompts": ["a"], "completion_window": "3 days"}, "completion_window"),
        ({"prompts": ["a"], "completion_window": "169h"}, "completion_window"),
        ({"prompts": ["a"], "webhook": {"url": "http://10.0.0.1/"}}, "webhook.url"),
        ({"prompts": ["a"], "strange": 1}, "strange"),
        ({"input_file_id": "file-none", "endpoint": "/v1/images/generations"}, "input_file_id"),
    ],
)
def test_a_batch_that_is_wrong_is_refused_by_name(safelight: Stack, fields: dict[str, Any], param: str) -> None:
    refusal = submit_batch(safelight, 400, **fields)

    assert refusal["error"]["param"] == param


def test_a_dry_run_says_what_it_would_cost(safelight: Stack) -> None:
    dry = submit_batch(safelight, prompts=["a cat", "a dog"], n=3, size="128x128", dry_run=True)
    estimate = submit_batch(safelight, requests=[{"prompt": "a", "model": "slow"}, {"prompt": "b"}], dry_run=True)

    assert (dry["object"], dry["total"], dry["images"], dry["models"]) == ("batch.estimate", 2, 6, {"fake": 2})
    assert 0 < dry["device_seconds"] < 6 * 0.1
    assert dry["estimated_finish_at"] is not None
    assert dry["cost_usd"] == 0  # drawn here
    assert (estimate["models"], estimate["errors"]["data"]) == ({"slow": 1, "fake": 1}, [])


def test_a_batch_is_submitted_once_by_its_key(safelight: Stack) -> None:
    headers = {"Idempotency-Key": "nightly-7"}
    fields = {"prompts": ["a cat", "a dog"], "size": "64x64"}

    first = safelight.client.post("/v1/batches", json=fields, headers=headers)
    second_answer = safelight.client.post("/v1/batches", json=fields, headers=headers)
    other_answer = safelight.client.post("/v1/batches", json=fields | {"prompts": ["a horse"]}, headers=headers)

    assert body(second_answer) == body(first)
    assert second_answer.headers["idempotent-replayed"] == "true"
    assert (other_answer.status_code, body(other_answer)["error"]["code"]) == (422, "idempotency_key_reused")


def test_what_is_cancelled_stops_and_still_writes_its_files(safelight: Stack) -> None:
    batch = submit_batch(safelight, prompts=[f"{n}" for n in range(300)], model="slow", size="64x64")
    until_one = safelight.client.get("/v1/jobs", params={"batch_id": batch["id"], "status": "in_progress"})
    assert until_one.status_code == 200

    cancelled = body(safelight.client.post(f"/v1/batches/{batch['id']}/cancel"))
    second_answer = body(safelight.client.post(f"/v1/batches/{batch['id']}/cancel"))
    final_batch = until_batch(safelight, batch["id"])

    assert cancelled["status"] in ("cancelling", "finalizing", "cancelled")
    assert second_answer["id"] == batch["id"]
    assert final_batch["status"] == "cancelled"
    counts = final_batch["request_counts"]
    assert counts["cancelled"] + counts["completed"] == counts["total"] == 300
    assert counts["cancelled"] > 280
    errors = file_lines(safelight, final_batch["error_file_id"])
    assert len(errors) == counts["cancelled"]
    assert errors[0]["response"] is None
    assert errors[0]["error"]["code"] == "batch_cancelled"


def test_failed_lines_alone_are_tried_again(safelight: Stack) -> None:
    requests = [{"custom_id": f"r{n}", "prompt": f"cat {n}", "size": "64x64"} for n in range(6)]
    requests[2]["prompt"] = "[fail]"
    requests[4]["prompt"] = "[fail]"
    batch = submit_batch(safelight, requests=requests)
    early = safelight.client.post(f"/v1/batches/{batch['id']}/retry")
    final_batch = until_batch(safelight, batch["id"])
    errors = file_lines(safelight, final_batch["error_file_id"])

    retried = body(safelight.client.post(f"/v1/batches/{batch['id']}/retry"))
    same_batch = body(safelight.client.post(f"/v1/batches/{batch['id']}/retry"))
    second = until_batch(safelight, retried["id"])

    assert early.status_code == 409
    assert (final_batch["request_counts"]["completed"], final_batch["request_counts"]["failed"]) == (4, 2)
    assert [error["custom_id"] for error in errors] == ["r2", "r4"]
    assert errors[0]["response"]["status_code"] == 500
    assert errors[0]["response"]["body"]["error"]["code"]
    assert (retried["retried_from"], same_batch["id"]) == (batch["id"], retried["id"])
    assert second["request_counts"]["total"] == 2
    assert [line["custom_id"] for line in file_lines(safelight, second["error_file_id"])] == ["r2", "r4"]


def test_its_images_come_as_a_zip_and_a_table(safelight: Stack) -> None:
    requests = [
        {"custom_id": "../../etc/passwd", "prompt": "=cmd()", "n": 2, "size": "64x64", "seed": 1},
        {"custom_id": "katze 猫", "prompt": "a cat", "size": "64x64"},
        {"custom_id": "bad", "prompt": "[fail] <script>", "size": "64x64"},
        {"prompt": "A dog, in the sun!", "size": "64x64"},
    ]
    batch = submit_batch(safelight, requests=requests)
    until_batch(safelight, batch["id"])

    archive = zipfile.ZipFile(io.BytesIO(safelight.client.get(f"/v1/batches/{batch['id']}/images.zip").content))
    manifest = safelight.client.get(f"/v1/batches/{batch['id']}/manifest.csv").content.decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(manifest)))

    assert archive.testzip() is None
    *names, page = archive.namelist()
    assert names == [
        "00001-_.._etc_passwd-0.png",
        "00001-_.._etc_passwd-1.png",
        "00002-katze_猫-0.png",
        "line-00004-a-dog-in-the-sun-0.png",
    ]
    assert [row["file"] for row in rows] == [*names[:3], "", names[3]]
    assert Image.open(io.BytesIO(archive.read(rows[0]["file"]))).size == (64, 64)
    assert (rows[0]["prompt"], rows[0]["seed"], rows[1]["seed"]) == ("'=cmd()", "1", "2")
    assert (rows[3]["status"], rows[3]["image_id"]) == ("failed", "")
    assert rows[3]["error_code"]
    html = archive.read(page).decode()
    assert page == "index.html"
    assert re.findall(r'<img src="([^"]+)"', html) == [quote(name) for name in names]
    assert ("<script" in html, "[fail] &lt;script&gt;" in html, rows[3]["error_message"] in html) == (False, True, True)


def test_a_stream_of_a_final_batch_ends_with_204_after_its_last_event(safelight: Stack) -> None:
    batch = submit_batch(safelight, prompts=["a cat"], size="64x64")
    until_batch(safelight, batch["id"])
    path = f"/v1/batches/{batch['id']}/events"
    lines = safelight.client.get(path).text.splitlines()
    ids = [line.removeprefix("id: ") for line in lines if line.startswith("id: ")]

    answers = [safelight.client.get(path, headers={"last-event-id": number}) for number in ids[-2:]]

    assert lines.count("retry: 1000") == 1
    assert [answer.status_code for answer in answers] == [200, 204]


def test_another_projects_batch_is_not_there(safelight: Stack) -> None:
    for method, path in [
        ("GET", ""), ("POST", "/cancel"), ("POST", "/retry"), ("GET", "/events"), ("GET", "/images.zip"),
        ("GET", "/manifest.csv"),
    ]:  # fmt: skip
        answer = safelight.client.request(method, f"/v1/batches/batch_none{path}")
        assert (answer.status_code, body(answer)["error"]["code"]) == (404, "not_found")
