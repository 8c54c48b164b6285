"""Computes the pictures of a batch: on a CPU each by itself, spread over the cores.

oneDNN and MKL choose a kernel by the shapes of its operands, the number of pictures among them, and each kernel rounds
in its own way. A forward pass over one picture has the same shapes in each batch. So the bytes of a picture do not
depend on its batch, whatever kernels a CPU has. The operands are copied, for a sum may depend on how they are aligned.

Networks as small as these gain nothing from several threads in one operation: the threads wait for each other longer
than they work, and for ever if another process holds a core. So each lane is a thread that computes some of the
pictures with one core. Whole pictures need no waiting until all are done.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import torch
from torch import Tensor

from worker.generators.unclip.precision import quick


class Lanes:
    """So many threads, each with one core for torch. With a single one everything stays in the calling thread.

    autocast: whether to compute in bfloat16 on a CPU that has it, though the weights are in single precision.
    """

    def __init__(self, count: int = 1, *, autocast: bool = True) -> None:
        self.autocast = autocast
        self._count = count
        self._threads = ThreadPoolExecutor(count, "lane", initializer=torch.set_num_threads, initargs=(1,))

    def run(self, compute: Callable[..., Tensor], *batched: Tensor, pictures: int | None = None) -> Tensor:
        """`compute(*batched)` for tensors (N, ...): picture by picture on a CPU, all at once elsewhere.

        pictures: how many there are, if not N; picture i then has the rows i, i + pictures, i + 2 pictures, ...
        """
        if batched[0].device.type != "cpu":
            return compute(*batched)
        total = pictures or len(batched[0])
        inference = torch.is_inference_mode_enabled()

        def lane(part: Sequence[int]) -> list[Tensor]:
            # Gradients, inference mode and autocast are switched for each thread anew.
            with torch.inference_mode(inference), torch.no_grad(), quick() if self.autocast else nullcontext():
                return [compute(*(_rows(tensor, picture, total) for tensor in batched)) for picture in part]

        count = min(self._count, total)
        if count < 2:
            computed = lane(range(total))
        else:
            parts = [range(total * number // count, total * (number + 1) // count) for number in range(count)]
            futures = [self._threads.submit(lane, part) for part in parts]
            computed = [rows for future in futures for rows in future.result()]
        return torch.stack(computed, 1).flatten(0, 1)  # back in the order of the rows


def _rows(tensor: Tensor, picture: int, pictures: int) -> Tensor:
    """A copy of the rows of a picture, laid out in memory as in any other batch."""
    return tensor[picture::pictures].clone(memory_format=torch.contiguous_format)
