"""A batch spread over cores: each picture is computed once, by itself and in its place, whoever computes it."""

from threading import Barrier, current_thread

import pytest
import torch
from torch import Tensor

from worker.generators.unclip.lanes import Lanes
from worker.generators.unclip.precision import HAS_BFLOAT16


def test_lanes_compute_their_parts_at_the_same_time() -> None:
    both_are_here = Barrier(2, timeout=20)
    first = set[str]()

    def compute(numbers: Tensor, weights: Tensor) -> Tensor:
        if current_thread().name not in first:
            first.add(current_thread().name)
            both_are_here.wait()
        return numbers * weights

    numbers, weights = torch.arange(5.0), torch.full((5,), 2.0)
    assert Lanes(2).run(compute, numbers, weights).tolist() == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("lanes", [1, 2, 8])
@pytest.mark.parametrize("pictures", [1, 2, 5])
def test_each_picture_is_computed_by_itself_with_all_of_its_rows(lanes: int, pictures: int) -> None:
    shapes = set[tuple[torch.Size, bool, int]]()

    def compute(rows: Tensor) -> Tensor:
        shapes.add((rows.shape, rows.is_contiguous(), rows.data_ptr() % 64))
        return rows + 100 * rows[0]

    rows = torch.arange(6.0 * pictures).view(2 * pictures, 3)
    computed = Lanes(lanes).run(compute, rows, pictures=pictures)
    assert shapes == {(torch.Size([2, 3]), True, 0)}
    assert torch.equal(computed, rows + 100 * torch.cat([rows[:pictures]] * 2))


def test_a_single_picture_stays_in_the_calling_thread() -> None:
    seen = []

    def compute(rows: Tensor) -> Tensor:
        seen.append((current_thread().name, len(rows)))
        return rows

    Lanes(4).run(compute, torch.zeros(2, 3), pictures=1)  # one picture, guided: it has two rows
    assert seen == [(current_thread().name, 2)]


def test_a_lane_computes_as_the_caller_does() -> None:
    modes: list[tuple[bool, bool]] = []

    def compute(rows: Tensor) -> Tensor:
        modes.append((torch.is_grad_enabled(), torch.is_inference_mode_enabled()))
        return rows

    with torch.inference_mode():
        Lanes(2).run(compute, torch.zeros(2))
    with torch.no_grad():
        Lanes(2).run(compute, torch.zeros(2))
    assert modes == [(False, True), (False, True), (False, False), (False, False)]


def test_what_a_lane_raises_comes_out() -> None:
    def compute(rows: Tensor) -> Tensor:
        if rows[0] > 0:
            raise MemoryError("no room")
        return rows

    with pytest.raises(MemoryError, match="no room"):
        Lanes(2).run(compute, torch.arange(2.0))


def test_networks_compute_in_bfloat16_only_where_the_cpu_has_it_and_it_is_allowed() -> None:
    layer = torch.nn.Linear(4, 4)
    computed = {autocast: Lanes(autocast=autocast).run(layer, torch.zeros(1, 4)).dtype for autocast in (True, False)}
    assert computed == {True: torch.bfloat16 if HAS_BFLOAT16 else torch.float32, False: torch.float32}
