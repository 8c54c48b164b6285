"""The same request with the same key is one job."""

from concurrent.futures import ThreadPoolExecutor

import httpx

from core.tables import jobs
from tests.stack import Stack, body


def post(stack: Stack, key: str, **fields: object) -> httpx.Response:
    return stack.client.post("/v1/jobs", json={"prompt": "once", **fields}, headers={"idempotency-key": key})


def test_the_same_key_twice_is_one_job(safelight: Stack) -> None:
    first = post(safelight, "twice", seed=1)
    second_answer = post(safelight, "twice", seed=1)

    assert [first.status_code, second_answer.status_code] == [202, 202]
    assert body(first) == body(second_answer)
    assert "idempotent-replayed" not in first.headers
    assert second_answer.headers["idempotent-replayed"] == "true"


def test_a_key_used_for_another_request_is_refused(safelight: Stack) -> None:
    post(safelight, "other", seed=1)

    answer = post(safelight, "other", seed=2)

    assert (answer.status_code, body(answer)["error"]["code"]) == (422, "idempotency_key_reused")


def test_a_key_is_free_again_after_a_request_that_was_wrong(safelight: Stack) -> None:
    wrong = post(safelight, "wrong", size="1x1")
    right = post(safelight, "wrong", size="64x64")

    assert [wrong.status_code, right.status_code] == [400, 202]
    assert "idempotent-replayed" not in right.headers


def test_a_hundred_at_once_are_one_job(safelight: Stack) -> None:
    before = safelight.count(jobs)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: post(safelight, "hundred"), range(100)))

    assert {answer.status_code for answer in answers} <= {202, 409}
    assert len({body(answer)["id"] for answer in answers if answer.status_code == 202}) == 1
    assert safelight.count(jobs) == before + 1


def test_a_key_of_strange_characters_is_refused(safelight: Stack) -> None:
    answer = post(safelight, "x" * 256)

    assert (answer.status_code, body(answer)["error"]["param"]) == (400, "Idempotency-Key")
