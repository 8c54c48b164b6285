"""`POST /generate-image`: a prompt goes in, a link to an image comes out."""

import httpx
import pytest

from tests.images import decode
from tests.stack import Stack, body


def test_a_prompt_becomes_a_link_that_opens(safelight: Stack) -> None:
    answer = safelight.client.post("/generate-image", json={"prompt": "A penguin on the beach"})

    assert answer.status_code == 200, answer.text
    assert decode(httpx.get(body(answer)["image_url"]).content).size == (64, 64)
    assert safelight.job(body(answer)["job_id"])["prompt"] == "A penguin on the beach"


@pytest.mark.parametrize(
    ("request_body", "param"),
    [({}, "prompt"), ({"prompt": ""}, "prompt"), ({"prompt": "x", "n": 2}, "n"), ({"prompt": 3}, "prompt")],
)
def test_anything_but_a_prompt_is_refused(safelight: Stack, request_body: dict[str, object], param: str) -> None:
    answer = safelight.client.post("/generate-image", json=request_body)

    assert (answer.status_code, body(answer)["error"]["param"]) == (400, param)


def test_an_image_that_fails_is_an_error_in_the_one_shape(safelight: Stack) -> None:
    answer = safelight.client.post("/generate-image", json={"prompt": "[refuse] this"})

    assert (answer.status_code, body(answer)["error"]["code"]) == (500, "generation_failed")
