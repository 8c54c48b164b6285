"""A job is one trace, from the request of its client over the worker to the receiver of its webhook."""

from collections.abc import Callable
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from cli.local.embedded import EmbeddedValkey
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
