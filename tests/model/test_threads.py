"""A batch distributed over cores: each image is computed exactly once, alone, and returned in its place."""

from threading import Barrier, current_thread

import pytest
import torch
from torch import Tensor

from worker.generators.unclip.precision import HAS_BFLOAT16
from worker.generators.unclip.threads import ImageThreads


def test_threads_compute_their_parts_at_the_same_time() -> None:
    both_are_here = Barrier(2, timeout=20)
    first = set[str]()

    def compute(numbers: Tensor, weights: Tensor) -> Tensor:
        if current_thread().name not in first:
            first.add(current_thread().name)
            both_are_here.wait()
        return numbers * weights

    numbers, weights = torch.arange(5.0), torch.full((5,), 2.0)
    assert ImageThreads(2).run(compute, numbers, weights).tolist() == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("threads", [1, 2, 8])
@pytest.mark.parametrize("images", [1, 2, 5])
def test_each_image_is_computed_by_itself_with_all_of_its_rows(threads: int, images: int) -> None:
    shapes = set[tuple[torch.Size, bool, int]]()

    def compute(rows: Tensor) -> Tensor:
        shapes.add((rows.shape, rows.is_contiguous(), rows.data_ptr() % 64))
        return rows + 100 * rows[0]

    rows = torch.arange(6.0 * images).view(2 * images, 3)
    outputs = ImageThreads(threads).run(compute, rows, images=images)
    assert shapes == {(torch.Size([2, 3]), True, 0)}
    assert torch.equal(outputs, rows + 100 * torch.cat([rows[:images]] * 2))


def test_a_single_image_stays_in_the_calling_thread() -> None:
    calls = []

    def compute(rows: Tensor) -> Tensor:
        calls.append((current_thread().name, len(rows)))
        return rows

    ImageThreads(4).run(compute, torch.zeros(2, 3), images=1)  # one image, guided: it has two rows
    assert calls == [(current_thread().name, 2)]


def test_a_thread_computes_as_the_caller_does() -> None:
    modes: list[tuple[bool, bool]] = []

    def compute(rows: Tensor) -> Tensor:
        modes.append((torch.is_grad_enabled(), torch.is_inference_mode_enabled()))
        return rows

    with torch.inference_mode():
        ImageThreads(2).run(compute, torch.zeros(2))
    with torch.no_grad():
        ImageThreads(2).run(compute, torch.zeros(2))
    assert modes == [(False, True), (False, True), (False, False), (False, False)]


def test_what_a_thread_raises_comes_out() -> None:
    def compute(rows: Tensor) -> Tensor:
        if rows[0] > 0:
            raise MemoryError("no room")
        return rows

    with pytest.raises(MemoryError, match="no room"):
        ImageThreads(2).run(compute, torch.arange(2.0))


def test_networks_compute_in_bfloat16_only_where_the_cpu_has_it_and_it_is_allowed() -> None:
    layer = torch.nn.Linear(4, 4)
    dtypes = {
        autocast: ImageThreads(autocast=autocast).run(layer, torch.zeros(1, 4)).dtype for autocast in (True, False)
    }
    assert dtypes == {True: torch.bfloat16 if HAS_BFLOAT16 else torch.float32, False: torch.float32}
