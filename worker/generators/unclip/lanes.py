"""Spreads a batch over the cores of a CPU: every lane is a thread that computes some of its images by itself.

Networks as small as these gain nothing from several threads in one operation: the threads wait for each other longer
than they work, and for ever if another process holds a core. Whole images need no waiting until all are done. What a
image becomes does not depend on its lane, as it does not on its batch.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from worker.generators.unclip.precision import quick


class Lanes:
    """So many threads, each with one core for torch. With a single one everything stays in the calling thread."""

    def __init__(self, count: int = 1) -> None:
        self._count = count
        self._threads = ThreadPoolExecutor(count, "lane", initializer=torch.set_num_threads, initargs=(1,))

    def run(self, compute: Callable[..., Tensor], *batched: Tensor, images: int | None = None) -> Tensor:
        """`compute(*batched)`, quickly; the rows of all tensors, (N, ...), are dealt out in equal parts.

        images: how many the rows stand for, if not N; there are never more lanes in use than images.
        """
        device = batched[0].device
        count = min(self._count, images or len(batched[0]))
        if count < 2:
            with quick(device):
                return compute(*batched)
        inference = torch.is_inference_mode_enabled()

        def lane(*part: Tensor) -> Tensor:
            # Gradients, inference mode and autocast are switched for each thread anew.
            with torch.inference_mode(inference), torch.no_grad(), quick(device):
                return compute(*part)

        parts = zip(*(torch.tensor_split(tensor, count) for tensor in batched), strict=True)
        futures = [self._threads.submit(lane, *part) for part in parts]
        return torch.cat([future.result() for future in futures])
