"""The benchmark of batches runs and prints its table; what the figures are is not for a test to say."""

from pathlib import Path

from bench.batch import PARTS, measure


def test_the_benchmark_of_batches_measures_every_part(directory: Path) -> None:
    place = directory / "bench-batch"
    place.mkdir()
    place.chmod(0o755)
    lines = measure(place, parts=[*PARTS[:-1]], rounds=1, lines=50, megabytes=1, samples=2, batches=1, depth=0)
    assert {line.unit for line in lines} >= {"rows/s", "MB", "micro-batches", "images"}
    assert all(len(line.ours) == len(line.theirs) > 0 for line in lines)
