"""A job is one trace, from the request of its client over the worker to the receiver of its webhook."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.types import Message, Receive, Scope, Send

from api.tracing import Tracing
from cli.local.embedded import EmbeddedValkey
from core import tracing
from tests.receiver import Receiver
from tests.stack import Stack
from tests.waiting import until

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
NAMES = {
    "safelight-api POST /v1/jobs",
    "safelight-worker queue",
    "safelight-worker generate",
    "safelight-worker store",
    "safelight-deliver webhook",
}


def spans_of(collector: Receiver, trace: str) -> dict[str, tuple[str, str]]:
    """The spans of a trace that a collector got: span and parent by service and name."""
    spans = {}
    for request in list(collector.requests):
        for resource in ExportTraceServiceRequest.FromString(request.body).resource_spans:
            service = next(
                item.value.string_value for item in resource.resource.attributes if item.key == "service.name"
            )
            for span in (span for scope in resource.scope_spans for span in scope.spans):
                if span.trace_id.hex() == trace:
                    spans[f"{service} {span.name}"] = (span.span_id.hex(), span.parent_span_id.hex())
    return spans


def test_a_job_is_one_trace_over_all_processes(
    directory: Path, fresh_database: Callable[[], str], valkey: EmbeddedValkey
) -> None:
    with Receiver() as collector, Receiver() as customer:
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url(""), "OTEL_BSP_SCHEDULE_DELAY": "50"}
        with Stack(directory / "traces", fresh_database(), valkey.url, **settings) as stack:
            stack.api()
            stack.worker()
            stack.deliver()
            stack.client.headers["traceparent"] = f"00-{TRACE}-{PARENT}-01"
            stack.submit(webhook={"url": customer.url(), "events": ["job.completed"]})
            until(lambda: spans_of(collector, TRACE).keys() >= NAMES)

    spans = spans_of(collector, TRACE)
    request_span, parent = spans["safelight-api POST /v1/jobs"]
    assert parent == PARENT
    assert {spans[name][1] for name in NAMES if "api" not in name} == {request_span}
    (call,) = customer.requests
    assert call.headers["traceparent"] == f"00-{TRACE}-{spans['safelight-deliver webhook'][0]}-01"


def test_a_request_that_breaks_is_a_span_with_the_class_of_the_error_and_no_prompt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spans = InMemorySpanExporter()
    monkeypatch.setattr(tracing, "_tracer", None)  # ends the tracing of this process after the test
    tracing.use(SimpleSpanProcessor(spans), "safelight-api")

    async def broken(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise ValueError("a prompt")

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(_message: Message) -> None:
        pass

    with pytest.raises(ValueError, match="a prompt"):
        asyncio.run(Tracing(broken)({"type": "http", "method": "POST", "headers": []}, receive, send))

    (span,) = spans.get_finished_spans()
    attributes = span.attributes or {}
    assert (attributes["http.response.status_code"], attributes["error.type"]) == (500, "ValueError")
    assert (span.name, list(span.events)) == ("POST", [])
    assert "a prompt" not in span.to_json()
