"""Each series is counted somewhere, and the dashboard and the alert rules name only series that exist."""

import re
from pathlib import Path

import core
from core.telemetry import metrics

ROOT = Path(core.__file__).parent.parent
DEPLOY = ("deploy/prometheus/alerts.yml", "deploy/grafana/dashboard.json")
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}


def test_dashboard_and_alerts_name_series_that_exist() -> None:
    samples = {series.name + suffix for series in metrics.SERIES for suffix in SUFFIXES[series.type]}

    names = {name for path in DEPLOY for name in re.findall(r"safelight_\w+", (ROOT / path).read_text())}

    assert len(names) > 15
    assert names - samples == set()


def test_each_series_is_counted() -> None:
    source = (ROOT / "core" / "telemetry" / "metrics.py").read_text()
    constants = re.findall(r"^([A-Z_]+) = _(?:counter|histogram|gauge)\(", source, re.MULTILINE)
    packages = (path for package in ("api", "core", "worker") for path in (ROOT / package).rglob("*.py"))
    code = "\n".join(path.read_text() for path in packages if path.name != "metrics.py")

    assert len(constants) == len(metrics.SERIES)
    assert [name for name in constants if not re.search(rf"\b{name}\.(labels|set|inc|observe|track_inprogress)\(", code)
            and f"(metrics.{name}, " not in code] == []  # fmt: skip
