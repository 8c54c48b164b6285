"""Traces of OpenTelemetry: one for each job, from its request over the worker to its webhook.

Off unless the extra `otel` is installed and OTEL_EXPORTER_OTLP_ENDPOINT says where spans are sent; then nothing is
imported. The row of a job carries the context of its request, `traceparent` in W3C's format, from process to process.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

log = logging.getLogger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""Settings of OpenTelemetry, one of which turns tracing on. It reads its other settings by itself."""

Attributes = Mapping[str, str | int | float]

_tracer: Any = None


def install(service: str) -> bool:
    """Send the spans of this process, if it is set where. Returns whether it is. service: its name by default."""
    if not any(os.environ.get(name) for name in ENDPOINTS) or os.environ.get("OTEL_SDK_DISABLED", "") == "true":
        return False
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError:
        log.warning("no traces: OTEL_EXPORTER_OTLP_ENDPOINT is set, and the extra otel is not installed")
        return False
    use(BatchSpanProcessor(OTLPSpanExporter()), service)
    return True


def use(processor: Any, service: str) -> None:
    """Give the spans of this process to a processor of OpenTelemetry's SDK."""
    global _tracer
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    name = os.environ.get("OTEL_SERVICE_NAME", service)
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(processor)
    _tracer = provider.get_tracer("safelight")


def is_on() -> bool:
    """Whether this process makes spans."""
    return _tracer is not None


@contextmanager
def request_span(name: str, traceparent: str | None) -> Iterator[Any]:
    """The span of a request, current within the block. traceparent: of its client. Only if tracing is on.

    An exception is not recorded: its message and its stack may quote a prompt.
    """
    from opentelemetry.trace import SpanKind

    with _tracer.start_as_current_span(
        name,
        context=_context(traceparent),
        kind=SpanKind.SERVER,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        yield span


def current_traceparent() -> str | None:
    """The context of the current span, for the row of a job; None: there is none."""
    if _tracer is None:
        return None
    return _traceparent(None)


def record(
    name: str,
    traceparent: str | None,
    start: datetime,
    end: datetime,
    attributes: Attributes | None = None,
    *,
    begins_trace: bool = False,
    is_call: bool = False,
) -> str | None:
    """Record a span that is over. Returns its context; without tracing, or a context to belong to, None.

    begins_trace: it is the first of a trace of its own, with a link to `traceparent`. is_call: of another service.
    """
    if _tracer is None or traceparent is None:
        return None
    from opentelemetry.context import Context
    from opentelemetry.trace import Link, SpanKind, get_current_span, set_span_in_context

    context = _context(traceparent)
    span = _tracer.start_span(
        name,
        context=Context() if begins_trace else context,
        kind=SpanKind.CLIENT if is_call else SpanKind.INTERNAL,
        links=[Link(get_current_span(context).get_span_context())] if begins_trace else None,
        start_time=_nanoseconds(start),
        attributes=dict(attributes or {}),
    )
    span.end(_nanoseconds(end))
    return _traceparent(set_span_in_context(span))


@contextmanager
def work_span(name: str, traceparent: str | None, attributes: Attributes | None = None) -> Iterator[None]:
    """The span of a piece of work, current within the block. Without tracing, or a context to belong to, none."""
    if _tracer is None or traceparent is None:
        yield
        return
    with _tracer.start_as_current_span(
        name,
        context=_context(traceparent),
        attributes=dict(attributes or {}),
        record_exception=False,
        set_status_on_exception=False,
    ):
        yield


@contextmanager
def call_span(name: str, traceparent: str | None, attributes: Attributes | None = None) -> Iterator[str | None]:
    """The span of a call to another service, as the traceparent to send it. Without tracing, the given one."""
    if _tracer is None or traceparent is None:
        yield traceparent
        return
    from opentelemetry.trace import SpanKind, set_span_in_context

    span = _tracer.start_span(
        name, context=_context(traceparent), kind=SpanKind.CLIENT, attributes=dict(attributes or {})
    )
    try:
        yield _traceparent(set_span_in_context(span))
    finally:
        span.end()


def _context(traceparent: str | None) -> Any:
    """The context of a traceparent; an empty one if there is none, or if it is not valid."""
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": traceparent or ""}, context=Context())


def _traceparent(context: Any) -> str | None:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier, context=context)
    return carrier.get("traceparent")


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000) * 1000
