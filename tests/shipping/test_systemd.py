"""What the systemd units promise, and what systemd itself says about them."""

import re
import shutil
import subprocess

import pytest

from core.settings import Settings
from tests.shipping.files import ROOT, seconds, text

UNITS = sorted(path.name for path in (ROOT / "deploy" / "systemd").glob("*.service"))
SERVERS = [unit for unit in UNITS if unit != "safelight-migrate.service"]
NEEDS_DEVICES = {"safelight-training.service", "safelight-worker@.service"}

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def options(unit: str) -> dict[str, list[str]]:
    """The options of a unit, each with its values in order."""
    values: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", text(f"deploy/systemd/{unit}"), re.MULTILINE):
        values.setdefault(name, []).append(value)
    return values


def analyze(*arguments: str) -> str:
    result = subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, cwd=ROOT, check=False)
    return result.stdout + result.stderr


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_can_write_its_state_only_and_has_limits(unit: str) -> None:
    values = options(unit)
    for name, value in {
        "User": "safelight", "ProtectSystem": "strict", "ProtectHome": "yes", "PrivateTmp": "yes",
        "NoNewPrivileges": "yes", "CapabilityBoundingSet": "", "UMask": "0077", "StateDirectory": "safelight",
        "StateDirectoryMode": "0700", "RestrictNamespaces": "yes", "LockPersonality": "yes",
    }.items():  # fmt: skip
        assert values[name] == [value], name
    assert "ReadWritePaths" not in values
    assert int(values["LimitNOFILE"][0]) >= 65536
    assert re.fullmatch(r"\d+G", values["MemoryMax"][0])
    assert 0 < int(values["TasksMax"][0]) <= 1024
    assert ("PrivateDevices" in values) == (unit not in NEEDS_DEVICES)


@pytest.mark.parametrize("unit", SERVERS)
def test_a_server_starts_again_with_growing_pauses_and_stops_later_than_a_worker_drains(unit: str) -> None:
    values = options(unit)
    assert values["Restart"] == ["always"]
    assert seconds(values["RestartMaxDelaySec"][0]) > seconds(values["RestartSec"][0])
    assert int(values["RestartSteps"][0]) > 1
    assert {"StartLimitIntervalSec", "StartLimitBurst"} <= values.keys()
    assert seconds(values["TimeoutStopSec"][0]) >= Settings().drain_timeout.total_seconds() + 15


@pytest.mark.parametrize("unit", UNITS)
def test_only_the_migrations_read_the_url_of_the_owner(unit: str) -> None:
    files = options(unit)["EnvironmentFile"]
    assert files[0] == "/etc/safelight/environment"
    assert files[1:] == (["-/etc/safelight/migrations"] if unit == "safelight-migrate.service" else [])


def test_the_migrations_run_before_the_api() -> None:
    assert options("safelight-api.service")["Requires"] == ["safelight-migrate.service"]
    assert "safelight-migrate.service" in options("safelight-api.service")["After"][0].split()


@needs_systemd
@pytest.mark.parametrize("unit", UNITS)
def test_systemd_reads_the_unit_and_finds_its_exposure_low(unit: str) -> None:
    path = str(ROOT / "deploy" / "systemd" / unit)
    complaints = [
        line
        for line in analyze("verify", "--man=no", path).splitlines()
        if unit in line
        and "is not executable" not in line  # it is not installed here
        and "RestartSteps" not in line  # systemd 254; an older one ignores it
        and "RestartMaxDelaySec" not in line
    ]
    assert complaints == []
    (exposure,) = re.findall(r"Overall exposure level for \S+: ([\d.]+)", analyze("security", "--offline=true", path))
    assert float(exposure) < 2.5
