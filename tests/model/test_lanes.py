"""A batch spread over cores: every row is computed once, in its place, whoever computes it."""

from threading import Barrier, current_thread

import pytest
import torch
from torch import Tensor

from tests.waiting import PATIENCE
from worker.generators.unclip.lanes import Lanes


def test_threads_compute_their_rows_at_the_same_time() -> None:
    both_are_here = Barrier(2, timeout=PATIENCE)

    def compute(numbers: Tensor, weights: Tensor) -> Tensor:
        both_are_here.wait()
        return numbers * weights

    numbers, weights = torch.arange(5.0), torch.full((5,), 2.0)
    assert Lanes(2).run(compute, numbers, weights).tolist() == [0, 2, 4, 6, 8]


def test_there_are_never_more_threads_than_images() -> None:
    calls = []

    def compute(rows: Tensor) -> Tensor:
        calls.append((current_thread().name, len(rows)))
        return rows

    Lanes(4).run(compute, torch.zeros(2, 3), images=1)  # one image, guided: it has two rows
    assert calls == [(current_thread().name, 2)]


def test_a_thread_computes_in_the_grad_mode_of_its_caller() -> None:
    modes: list[tuple[bool, bool]] = []

    def compute(rows: Tensor) -> Tensor:
        modes.append((torch.is_grad_enabled(), torch.is_inference_mode_enabled()))
        return rows

    with torch.inference_mode():
        Lanes(2).run(compute, torch.zeros(2))
    with torch.no_grad():
        Lanes(2).run(compute, torch.zeros(2))
    assert modes == [(False, True), (False, True), (False, False), (False, False)]


def test_what_a_thread_raises_comes_out() -> None:
    def compute(rows: Tensor) -> Tensor:
        if rows[0] > 0:
            raise MemoryError("no room")
        return rows

    with pytest.raises(MemoryError, match="no room"):
        Lanes(2).run(compute, torch.arange(2.0))
