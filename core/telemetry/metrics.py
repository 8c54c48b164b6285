"""The series that processes count for Prometheus, each declared here once, and the listener that shows them.

Labels are bounded: models of the catalogue, routes, statuses and codes of our own. No series has the id of a job, of a
project or of a key. The API shows them at `/metrics` of its own port, the other processes with `serve`.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics, start_http_server

log = logging.getLogger(__name__)

# A second series for each one, which nothing here uses.
disable_created_metrics()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Series:
    """What the docs say about a series."""

    name: str
    type: str
    labels: Sequence[str]
    meaning: str


SERIES: list[Series] = []
"""All series of this module, in the order of the docs."""

LONG_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
SHORT_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


def _counter(name: str, meaning: str, *labels: str) -> Counter:
    SERIES.append(Series(f"{name}_total", "counter", labels, meaning))
    return Counter(name, meaning, labels)


def _histogram(name: str, meaning: str, *labels: str, buckets: Sequence[float]) -> Histogram:
    SERIES.append(Series(name, "histogram", labels, meaning))
    return Histogram(name, meaning, labels, buckets=buckets)


def _gauge(
    name: str, meaning: str, *labels: str, of_processes: Literal["livesum", "livemostrecent"] = "livemostrecent"
) -> Gauge:
    """of_processes: what several API processes show together."""
    SERIES.append(Series(name, "gauge", labels, meaning))
    return Gauge(name, meaning, labels, multiprocess_mode=of_processes)


HTTP_SECONDS = _histogram(
    "safelight_http_request_seconds",
    "API: time until the response to a request begins. `route` is the route's template.",
    *("method", "route", "status"),
    buckets=SHORT_SECONDS,
)
EVENT_STREAMS = _gauge("safelight_event_streams", "API: open streams of events.", of_processes="livesum")
JOBS_ACCEPTED = _counter(
    "safelight_jobs_accepted", "API and sweep: jobs that were submitted, by `source`: `request` or `batch`.",
    *("model", "source"),
)  # fmt: skip
QUEUE_JOBS = _gauge(
    "safelight_queue_jobs",
    "API: jobs of a queue, `queued` (up to 100,000) or `in_progress`, from the database. Every API shows the same.",
    *("queue", "status"),
)
QUEUE_AGE_SECONDS = _gauge(
    "safelight_queue_oldest_seconds", "API: since when the oldest job of a queue waits; 0 if none does.", "queue"
)
MODEL_WORKERS = _gauge(
    "safelight_model_workers",
    "API: workers that have a model of the catalogue `loaded`, are `loading` it, or cannot load it (`unusable`).",
    *("model", "state"),
)
MODEL_BYTES = _gauge(
    "safelight_model_bytes", "API: memory of a loaded model's weights, as a worker measured it; 0: not loaded.", "model"
)
JOBS_STARTED = _counter("safelight_jobs_started", "Worker: attempts that it began.", "model")
JOBS_FINISHED = _counter(
    "safelight_jobs_finished",
    "All: jobs that became final in this process: `completed`, `failed`, `cancelled`, `expired`.",
    *("model", "outcome"),
)
JOBS_FAILED = _counter("safelight_jobs_failed", "Worker and sweep: jobs that failed, by error code.", "model", "code")
JOBS_RECLAIMED = _counter("safelight_jobs_reclaimed", "Sweep: jobs that it took back as their lease ran out.", "model")
WAIT_SECONDS = _histogram(
    "safelight_job_wait_seconds", "Finished jobs: from the submit to the last claim.", "model", buckets=LONG_SECONDS
)
RUN_SECONDS = _histogram(
    "safelight_job_run_seconds", "Finished jobs: from the last claim to the end.", "model", buckets=LONG_SECONDS
)
TOTAL_SECONDS = _histogram(
    "safelight_job_seconds", "Finished jobs: from the submit to the end.", "model", buckets=LONG_SECONDS
)
MICROBATCH_IMAGES = _histogram(
    "safelight_microbatch_images", "Worker: images of a micro-batch.", "model", buckets=(1, 2, 4, 8, 16, 32, 64)
)
IMAGES = _counter("safelight_images", "Worker: images that it stored.", "model")
DEVICE_SECONDS = _counter("safelight_device_busy_seconds", "Worker: time of passes over the device.", "model")
LEASES_LOST = _counter("safelight_leases_lost", "Worker: jobs that it lost because their lease ended.")
PROVIDER_CALLS = _counter("safelight_provider_calls", "Worker: calls of a provider, by outcome.", "model", "outcome")
PROVIDER_USD = _counter("safelight_provider_usd", "Worker: what a provider charged, in US dollars.", "model")
WEBHOOK_ATTEMPTS = _counter(
    "safelight_webhook_attempts", "Deliverer: attempts, by outcome: `delivered`, `retried`, `given_up`.", "outcome"
)
WEBHOOK_LAG_SECONDS = _histogram(
    "safelight_webhook_lag_seconds", "Deliverer: from an event to its delivery.", buckets=LONG_SECONDS
)
STORAGE_SECONDS = _histogram(
    "safelight_storage_seconds",
    "All: time of a call of the object storage. `operation` is `read`, until the first byte, or `write`.",
    "operation",
    buckets=SHORT_SECONDS,
)


def serve(host: str, port: int | None) -> None:
    """Show the series of this process at `http://host:port/metrics`, in a thread. None: do nothing.

    A port that cannot be used is a warning: the work of a process matters more than its metrics.
    """
    if port is None:
        return
    try:
        start_http_server(port, host)
    except OSError as error:
        log.warning("no metrics: cannot listen on %s:%d: %s", host, port, error.strerror or error)
    else:
        log.info("metrics are at http://%s:%d/metrics", host, port)
