"""The benchmark of a long line runs and prints its table; what the figures are is not for a test to say."""

from pathlib import Path

from bench.queue_length import FIGURES, measure


def test_a_deep_line_is_measured_beside_a_shallow_one_before_and_after_it_was_churned(directory: Path) -> None:
    place = directory / "bench-line"
    place.mkdir()
    place.chmod(0o755)
    lines = measure(place, depth=2000, rounds=1, claims=3, bulk=10, churn=20)
    assert len(lines) == 2 * (len(FIGURES) + 1)
    assert all(value > 0 for line in lines for value in (*line.ours, *line.theirs))
