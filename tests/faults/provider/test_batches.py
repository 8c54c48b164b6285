"""Batches of OpenAI's images: a refusal is a line of the error file, and a dry run says what it costs."""

import json
from typing import Any

import pytest

from tests.faults.provider.calls import a_worker
from tests.openai_stub import MODEL, OpenAIStub
from tests.stack import Stack, body

AN_IMAGE_USD = 20 * 5 / 1e6 + 1000 * 30 / 1e6


def lines_of(service: Stack, file_id: str) -> dict[str, dict[str, Any]]:
    lines = map(json.loads, service.client.get(f"/v1/files/{file_id}/content").content.splitlines())
    return {line["custom_id"]: line["response"] for line in lines}


def test_a_batch_of_openais_images_says_how_each_line_ended(service: Stack, openai: OpenAIStub) -> None:
    requests = [{"custom_id": name, "prompt": prompt} for name, prompt in (("a", "a fox"), ("b", "[moderation] x"))]
    fields = {"requests": requests, "model": MODEL, "endpoint": "/v1/images/generations", "quality": "low"}
    unknown = body(service.client.post("/v1/batches", json=fields | {"dry_run": True}))

    batch = body(service.client.post("/v1/batches", json=fields))
    a_worker(service)
    with service.client.stream("GET", f"/v1/batches/{batch['id']}/events") as stream:
        assert any(line == "event: batch.completed" for line in stream.iter_lines())

    batch_after = body(service.client.get(f"/v1/batches/{batch['id']}"))
    output_lines = lines_of(service, batch_after["output_file_id"])
    error_lines = lines_of(service, batch_after["error_file_id"])
    estimate = body(service.client.post("/v1/batches", json=fields | {"dry_run": True}))
    assert unknown["cost_usd"] is None
    assert estimate["cost_usd"] == pytest.approx(2 * AN_IMAGE_USD, abs=1e-4)
    assert (output_lines["a"]["body"]["usage"]["total_tokens"], output_lines["a"]["body"]["quality"]) == (1020, "low")
    assert error_lines["b"]["status_code"] == 400
    assert error_lines["b"]["body"]["error"]["code"] == "content_policy_violation"
    assert len(openai.received) == 2
