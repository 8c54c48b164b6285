"""Computes the images of a batch: on a CPU one by one, distributed over the cores.

oneDNN and MKL choose a kernel by the shapes of its operands, which include the number of images, and each kernel rounds
differently. A forward pass over one image has the same shapes in each batch. So the bytes of an image do not depend on
its batch, whatever kernels a CPU has. The operands are copied, because a sum may depend on their alignment.

Such small networks gain nothing from several threads in one operation: the threads wait for each other longer than they
compute, and very long if another process uses a core. So each thread computes whole images with one core.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import torch
from torch import Tensor

from worker.generators.unclip.precision import fast_arithmetic


class ImageThreads:
    """A pool of threads, each with one core for torch. With a count of 1 the calling thread computes everything.

    autocast: whether to compute in bfloat16 on a CPU that has it, although the weights are in single precision.
    """

    def __init__(self, count: int = 1, *, autocast: bool = True) -> None:
        self.autocast = autocast
        self._count = count
        self._threads = ThreadPoolExecutor(count, "image", initializer=torch.set_num_threads, initargs=(1,))

    def run(self, compute: Callable[..., Tensor], *batched: Tensor, images: int | None = None) -> Tensor:
        """`compute(*batched)` for tensors (N, ...): image by image on a CPU, all at once elsewhere.

        images: how many there are, if not N; image i then has the rows i, i + images, i + 2 images, ...
        """
        if batched[0].device.type != "cpu":
            return compute(*batched)
        total = images or len(batched[0])
        inference = torch.is_inference_mode_enabled()

        def compute_images(part: Sequence[int]) -> list[Tensor]:
            # Gradients, inference mode and autocast are settings of each thread.
            with (
                torch.inference_mode(inference),
                torch.no_grad(),
                fast_arithmetic() if self.autocast else nullcontext(),
            ):
                return [compute(*(_rows(tensor, image, total) for tensor in batched)) for image in part]

        count = min(self._count, total)
        if count < 2:
            results = compute_images(range(total))
        else:
            parts = [range(total * number // count, total * (number + 1) // count) for number in range(count)]
            futures = [self._threads.submit(compute_images, part) for part in parts]
            results = [rows for future in futures for rows in future.result()]
        return torch.stack(results, 1).flatten(0, 1)  # back in the order of the rows


def _rows(tensor: Tensor, image: int, images: int) -> Tensor:
    """A copy of the rows of an image, laid out in memory as in any other batch."""
    return tensor[image::images].clone(memory_format=torch.contiguous_format)
