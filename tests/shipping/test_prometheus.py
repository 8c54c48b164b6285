"""Debian's Prometheus reads a Safelight after one job, and the queries of dashboard and alerts run on it."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

import core
from cli.local.embedded import EmbeddedValkey
from tests.processes import Process
from tests.stack import Stack, free_port
from tests.waiting import PATIENCE, until

PROMETHEUS = shutil.which("prometheus")
DEPLOY = Path(core.__file__).parent.parent / "deploy"

pytestmark = [
    pytest.mark.slow,  # two scrapes apart in time, so that rates have values
    pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is not installed"),
]

WITHOUT_VALUES = (
    "safelight_provider_",
    "safelight_jobs_reclaimed_total",
    "safelight_webhook_",
    "safelight_jobs_failed_total",
)
"""Series that one job does not have: it calls no provider, does not fail, and nobody hears of it."""


def queries() -> Iterator[str]:
    """The queries of the panels, as Grafana sends them, and of the alert rules."""
    yield from (query.replace("$__rate_interval", "1m") for query in _values(_read_dashboard(), "expr"))
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
    yield from _values(rules, "expr")


def _read_dashboard() -> Any:
    return json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())


def _values(node: Any, key: str) -> Iterator[str]:
    if isinstance(node, dict):
        if key in node:
            yield str(node[key])
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _values(child, key)


def test_each_query_runs_on_what_prometheus_reads(
    directory: Path, fresh_database: Callable[[], str], valkey: EmbeddedValkey
) -> None:
    assert PROMETHEUS is not None
    ports = {name: free_port() for name in ("worker", "sweep", "prometheus")}
    place = directory / "prometheus"
    with Stack(place, fresh_database(), valkey.url) as stack:
        stack.api()
        stack.worker(SAFELIGHT_METRICS_PORT=str(ports["worker"]))
        stack.sweep(SAFELIGHT_METRICS_PORT=str(ports["sweep"]))
        configuration = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
        configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        shutil.copy(DEPLOY / "prometheus" / "alerts.yml", place)
        api, processes = configuration["scrape_configs"]
        api["static_configs"] = [{"targets": [f"127.0.0.1:{stack.port}"]}]
        processes["static_configs"] = [{"targets": [f"127.0.0.1:{ports[name]}"]} for name in ("worker", "sweep")]
        (place / "prometheus.yml").write_text(yaml.safe_dump(configuration))
        command = [
            PROMETHEUS, f"--config.file={place}/prometheus.yml", f"--storage.tsdb.path={place}/tsdb",
            f"--web.listen-address=127.0.0.1:{ports['prometheus']}",
        ]  # fmt: skip
        with (
            Process("prometheus", command, {}, directory=place),
            httpx.Client(base_url=f"http://127.0.0.1:{ports['prometheus']}/api/v1", timeout=PATIENCE) as client,
        ):
            until(lambda: is_up(client) and len(result(client, "up == 1")) == 3)
            before = result(client, "sum(safelight_jobs_finished_total)")
            stack.final(stack.submit()["id"])
            until(lambda: result(client, "sum(safelight_jobs_finished_total)") != before)
            for series in ("safelight_jobs_accepted_total", "safelight_jobs_finished_total", "safelight_queue_jobs"):
                until(lambda name=series: result(client, f"sum(rate({name}[1m]))"))  # type: ignore[misc]

            rules = client.get("/rules").json()["data"]["groups"][0]["rules"]
            answers = {query: client.get("/query", params={"query": query}).json() for query in queries()}

    assert {query: answer for query, answer in answers.items() if answer["status"] != "success"} == {}
    assert len(answers) > 30
    assert len(rules) > 8
    assert {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] == "err"} == {}
    silent = [
        query
        for query, answer in answers.items()
        if not answer["data"]["result"] and not any(operator in query for operator in (" > ", " == ", *WITHOUT_VALUES))
    ]
    assert silent == []


def is_up(client: httpx.Client) -> bool:
    try:
        return client.get("/query", params={"query": "up"}).status_code == 200
    except httpx.TransportError:
        return False


def result(client: httpx.Client, query: str) -> Any:
    return client.get("/query", params={"query": query}).json()["data"]["result"]
