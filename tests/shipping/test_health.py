"""The containers' healthcheck, run against real processes."""

import os
import subprocess
import sys
from collections.abc import Mapping

import pytest
import sqlalchemy as sa

from core.db import Database
from tests.shipping.files import ROOT
from tests.stack import Stack, free_port
from tests.waiting import until


def is_well(*name: str, environment: Mapping[str, str]) -> bool:
    command = [sys.executable, str(ROOT / "deploy/healthcheck.py"), *name]
    result = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    assert result.stderr == ""
    return result.returncode == 0


def database_of(database: Database) -> dict[str, str]:
    return {"SAFELIGHT_DATABASE_URL": database.engine.url.set(drivername="postgresql").render_as_string(False)}


@pytest.mark.parametrize("name", ["api", "safelight-worker", "safelight-sweep", "safelight-deliver"])
def test_a_running_process_is_soon_well(safelight: Stack, name: str) -> None:
    until(lambda: is_well(name, environment=safelight.environment))


def test_a_process_that_was_never_seen_is_not_well(database: Database) -> None:
    assert not is_well("safelight-nobody", environment=database_of(database))


def test_a_process_that_has_not_looked_lately_is_not_well(database: Database) -> None:
    database.execute(sa.text("SELECT 1"))
    assert is_well("test", environment=database_of(database))
    assert not is_well("test", "0", environment=database_of(database))


def test_nothing_is_well_without_what_it_asks() -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    assert not is_well("safelight-worker", environment={"SAFELIGHT_DATABASE_URL": f"postgresql://x:y@{nowhere}/z"})
    assert not is_well("api", environment={"SAFELIGHT_PORT": nowhere.partition(":")[2]})
