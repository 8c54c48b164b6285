"""BentoML's task with adaptive batching: a submit gives a task id.

Run by `python -m bentoml serve bench.peers.bentoml_server:Draw`.
"""

import bentoml

from bench.peers.drawing import draw, generator


@bentoml.service(workers=1, traffic={"timeout": 600, "max_concurrency": 4096})
class Draw:
    """Draws the prompts of up to eight requests at once."""

    def __init__(self) -> None:
        generator()

    @bentoml.task(batchable=True, max_batch_size=8, max_latency_ms=60_000)  # type: ignore[untyped-decorator]
    def draw(self, prompts: list[str]) -> list[int]:
        """An image per prompt. Returns their bytes' numbers."""
        return [len(content) for content in draw(prompts)]
