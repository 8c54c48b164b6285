"""LitServe with dynamic batching: a request lasts until its image is there.

Run by `python -m bench.peers.litserve_server PORT`.
"""

import sys
from collections.abc import Sequence

sys.modules["mcp"] = None  # type: ignore[assignment]  # LitServe 0.2.19 cannot be imported beside mcp 2

import litserve  # noqa: E402
from fastapi import Response  # noqa: E402

from bench.peers.drawing import draw, generator  # noqa: E402

BATCH = 8
BATCH_SECONDS = 0.005


class Draw(litserve.LitAPI):  # type: ignore[misc]
    """Draws the prompts of up to eight requests at once."""

    def setup(self, device: str) -> None:
        """Load the model."""
        generator()

    def decode_request(self, request: dict[str, str]) -> str:
        """The prompt."""
        return request["prompt"]

    def batch(self, inputs: Sequence[str]) -> Sequence[str]:
        """The prompts, as the model takes them."""
        return inputs

    def predict(self, x: Sequence[str]) -> list[bytes]:
        """An image per prompt."""
        return draw(x)

    def unbatch(self, output: list[bytes]) -> list[bytes]:
        """An image per request."""
        return output

    def encode_response(self, output: bytes) -> Response:
        """The image itself."""
        return Response(output, media_type="image/png")


if __name__ == "__main__":
    api = Draw(max_batch_size=BATCH, batch_timeout=BATCH_SECONDS)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=600)
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, generate_client_file=False, log_level="warning"
    )
