"""The benchmark runs and prints its table; what the figures are is not for a test to say."""

from pathlib import Path

from bench.submit_to_done import measure
from bench.table import HEADINGS, Line, render


def test_the_benchmark_measures_every_part_beside_its_reference(directory: Path) -> None:
    place = directory / "bench-service"
    place.mkdir()
    place.chmod(0o755)
    lines = measure(place, rounds=1, jobs=8, connections=2, seconds=0.2, singles=2, batches=1)
    assert next(line.what for line in lines if line.what) == "accepted jobs"
    assert all(value > 0 for line in lines for value in (*line.ours, *line.theirs))
    assert all(len(line.ours) == len(line.theirs) == 1 for line in lines)


def test_a_ratio_is_taken_within_a_round() -> None:
    line = Line("jobs", "1/s", "bare", ">= 0.5")
    line.add(50, 100)
    line.add(5, 20)
    line.add(800, 1000)
    assert line.ratios == [0.5, 0.25, 0.8]
    heading, _, printed = render([line]).splitlines()
    assert all(name in heading for name in HEADINGS)
    assert "0.500 [0.250..0.800]" in printed
    assert ">= 0.5" in printed
