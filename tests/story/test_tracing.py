"""A job is one trace, from the request of its client over the worker to the receiver of its webhook."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from starlette.types import Message, Receive, Scope, Send

from api.tracing import Tracing
from cli.local.embedded import EmbeddedValkey
from core import submits
from core.db import Database
from core.generation import Reply
from core.generation_errors import ContentPolicyViolation
from core.status import CallOutcome
from core.telemetry import tracing
from tests.batches import submit_batch, until_batch
from tests.factories import a_job
from tests.faults.provider.calls import OPENAI
from tests.openai_stub import KEY, MODEL, OpenAIStub
from tests.receiver import Receiver
from tests.stack import CATALOG, Stack
from tests.waiting import until
from worker.generation import traces

PROVIDER_TRACE = "2cf7651916cd43dd8448eb211c80319e"
BATCH_TRACE = "1bf7651916cd43dd8448eb211c80319d"
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


@dataclass(frozen=True, slots=True)
class Traced:
    """A Safelight whose spans go to a collector."""

    stack: Stack
    collector: Receiver
    openai: OpenAIStub


@pytest.fixture(scope="module")
def traced(directory: Path, fresh_database: Callable[[], str], valkey: EmbeddedValkey) -> Iterator[Traced]:
    with Receiver() as collector, OpenAIStub() as openai:
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url(""), "OTEL_BSP_SCHEDULE_DELAY": "50"}
        settings |= {"SAFELIGHT_OPENAI_API_KEY": KEY, "SAFELIGHT_OPENAI_BASE_URL": openai.url, "NO_PROXY": "127.0.0.1"}
        with Stack(directory / "traces", fresh_database(), valkey.url, **settings) as stack:
            (stack.directory / "catalog.toml").write_text(CATALOG + OPENAI)
            stack.api()
            stack.worker(queue="local,openai")
            stack.deliver()
            stack.sweep()
            yield Traced(stack, collector, openai)


def test_a_job_is_one_trace_over_all_processes(traced: Traced) -> None:
    collector, stack = traced.collector, traced.stack
    stack.client.headers["traceparent"] = f"00-{TRACE}-{PARENT}-01"
    with Receiver() as customer:
        stack.submit(webhook={"url": customer.url(), "events": ["job.completed"]})
        until(lambda: spans_of(collector, TRACE).keys() >= NAMES)

    spans = spans_of(collector, TRACE)
    request_span, parent = spans["safelight-api POST /v1/jobs"]
    assert parent == PARENT
    assert {spans[name][1] for name in NAMES if "api" not in name} == {request_span}
    (call,) = customer.requests
    assert call.headers["traceparent"] == f"00-{TRACE}-{spans['safelight-deliver webhook'][0]}-01"


def test_a_call_of_a_provider_is_in_the_trace_of_its_job(traced: Traced) -> None:
    collector, stack = traced.collector, traced.stack
    stack.client.headers["traceparent"] = f"00-{PROVIDER_TRACE}-{PARENT}-01"
    names = {*NAMES, "safelight-worker provider call"}
    with Receiver() as customer:
        webhook = {"url": customer.url(), "events": ["job.completed"]}
        stack.submit("a secret cat of the provider", model=MODEL, webhook=webhook)
        until(lambda: spans_of(collector, PROVIDER_TRACE).keys() >= names)

    spans = spans_of(collector, PROVIDER_TRACE)
    request_span, _ = spans["safelight-api POST /v1/jobs"]
    assert {spans[name][1] for name in names if "api" not in name} == {request_span}
    (call,) = customer.requests
    assert call.headers["traceparent"] == f"00-{PROVIDER_TRACE}-{spans['safelight-deliver webhook'][0]}-01"
    (request,) = traced.openai.of("a secret cat of the provider")
    assert "traceparent" not in request.headers  # ids of our own network are nothing for a provider
    assert not any(b"a secret cat" in sent.body for sent in collector.requests)


def line_spans(collector: Receiver) -> dict[str, list[Any]]:
    """The spans of batches' lines, by the trace that they have for themselves."""
    traces: dict[str, list[Any]] = {}
    for request in list(collector.requests):
        for resource in ExportTraceServiceRequest.FromString(request.body).resource_spans:
            for span in (span for scope in resource.scope_spans for span in scope.spans):
                is_line = {"safelight.batch_id", "safelight.job_id"} <= {item.key for item in span.attributes}
                if is_line:
                    traces.setdefault(span.trace_id.hex(), []).append(span)
    return traces


def test_a_batch_is_a_trace_and_each_of_its_lines_has_one_that_names_it(traced: Traced) -> None:
    collector, stack = traced.collector, traced.stack
    stack.client.headers["traceparent"] = f"00-{BATCH_TRACE}-{PARENT}-01"
    batch = submit_batch(stack, requests=[{"prompt": "a secret cat"}, {"prompt": "a dog"}], size="64x64")
    until_batch(stack, batch["id"])
    names = {"safelight-api POST /v1/batches", "safelight-sweep read batch", "safelight-sweep finish batch"}
    until(lambda: spans_of(collector, BATCH_TRACE).keys() >= names)
    until(lambda: [len(spans) for spans in line_spans(collector).values()] == [3, 3])

    spans = spans_of(collector, BATCH_TRACE)
    request_span, _ = spans["safelight-api POST /v1/batches"]
    read, parent = spans["safelight-sweep read batch"]
    assert (parent, spans["safelight-sweep finish batch"][1]) == (request_span, request_span)
    for line in line_spans(collector).values():
        by_name = {span.name: span for span in line}
        assert by_name.keys() == {"queue", "generate", "store"}
        assert [link.span_id.hex() for link in by_name["queue"].links] == [read]
        assert {by_name[name].parent_span_id for name in ("generate", "store")} == {by_name["queue"].span_id}
    assert not any(b"a secret cat" in request.body for request in collector.requests)


def test_a_call_of_a_provider_is_a_span_with_its_model_and_outcome(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = InMemorySpanExporter()
    monkeypatch.setattr(tracing, "_tracer", None)  # ends the tracing of this process after the test
    tracing.use(SimpleSpanProcessor(spans), "safelight-worker")
    prompt = "a prompt"
    (job,) = database.execute(submits.submit(a_job(prompt=prompt, traceparent=f"00-{TRACE}-{PARENT}-01")))
    reply = Reply(CallOutcome.REFUSED, error=ContentPolicyViolation(prompt))

    traces.record_call(job, "call_1", reply, job.created_at)

    (span,) = spans.get_finished_spans()
    attributes = span.attributes or {}
    assert (span.name, span.kind, attributes["safelight.model"]) == ("provider call", SpanKind.CLIENT, job.model)
    assert (attributes["safelight.outcome"], attributes["error.type"]) == ("refused", "content_policy_violation")
    assert prompt not in span.to_json()


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
