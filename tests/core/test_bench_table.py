"""The table in which benchmarks print their figures. `make bench-check` runs the benchmarks themselves."""

from bench.table import HEADINGS, Line, at_least, at_most, render


def test_a_ratio_is_taken_within_a_round() -> None:
    line = Line("jobs", "1/s", "bare", at_least(0.5))
    line.add(50, 100)
    line.add(5, 20)
    line.add(800, 1000)
    assert line.ratios == [0.5, 0.25, 0.8]
    heading, _, figures = render([line]).splitlines()
    assert all(name in heading for name in HEADINGS)
    assert "0.500 [0.250..0.800]" in figures
    assert ">= 0.5" in figures


def test_a_reference_that_its_clock_did_not_see_reaches_no_target() -> None:
    line = Line("processor time", "ms", "bare", at_most(1))
    line.add(10, 0)
    assert line.is_reached is False
    assert "nan" in render([line])
