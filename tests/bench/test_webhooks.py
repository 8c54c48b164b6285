"""The benchmark of webhooks runs and prints its table; what the figures are is not for a test to say."""

from pathlib import Path

from bench.webhooks import PARTS, measure


def test_the_benchmark_of_webhooks_measures_every_part_beside_its_reference(directory: Path) -> None:
    place = directory / "bench-webhooks"
    place.mkdir()
    place.chmod(0o755)
    lines = measure(place, PARTS, rounds=1, deliveries=16, events=5, hanging=3, pause=0.01)
    assert [line.what.split(":")[0] for line in lines] == [
        "deliveries to 1 endpoint",
        "deliveries to 8 endpoints",
        "deliveries to 8 endpoints, 2 processes",
        "event to arrival, 3 others hang",
        "event to arrival, 3 others hang",
    ]
    assert all(value > 0 for line in lines for value in (*line.ours, *line.theirs))
