"""While strangers attack the HTTP edge, other clients are served: `pytest -m hostile tests/hostile/test_edge.py`."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.local.embedded import EmbeddedValkey
from tests.hostile.edge import ATTACKS, Attack, measure
from tests.processes import Process
from tests.stack import Stack

MAX_RATIO = 3.0

pytestmark = pytest.mark.hostile


@pytest.fixture(scope="module")
def api(directory: Path, fresh_database: Callable[[], str], valkey: EmbeddedValkey) -> Iterator[tuple[Stack, Process]]:
    with Stack(directory / "hostile", fresh_database(), valkey.url) as own_stack:
        yield own_stack, own_stack.api()


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_an_attack_stops_no_other_client(api: tuple[Stack, Process], attack: Attack) -> None:
    measurements = measure(*api, attack)

    print(f"{attack.__name__}: p95 {measurements.ratio:.1f} times, {measurements}")
    assert not api[1].has_ended, "the process is lost"
    assert measurements.failures == 0
    assert measurements.ratio <= MAX_RATIO
    assert measurements.memory_growth < 150_000_000
    assert measurements.file_descriptors < 1200
    assert measurements.log_bytes < 3000
