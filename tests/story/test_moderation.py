"""Prompts and images are checked before and after generation, and each job keeps the verdict."""

from collections.abc import Callable, Iterator
from pathlib import Path

import openai
import pytest

from cli.local.embedded import EmbeddedValkey
from tests.moderation_stub import ModerationStub, moderation_stub
from tests.stack import Stack

WORDS = """
[[rules]]
category = "brand"
all_of = [["acme", "akme corp"]]
"""


@pytest.fixture(scope="module")
def stub() -> Iterator[ModerationStub]:
    with moderation_stub() as stub:
        yield stub


@pytest.fixture(scope="module")
def moderated(
    directory: Path, fresh_database: Callable[[], str], valkey: EmbeddedValkey, stub: ModerationStub
) -> Iterator[Stack]:
    """A Safelight with all checks."""
    words = directory / "words.toml"
    words.write_text(WORDS)
    settings = {
        "SAFELIGHT_MODERATION": "words, openai, hook",
        "SAFELIGHT_MODERATION_WORDS": str(words),
        "SAFELIGHT_MODERATION_HOOK": f"{stub.url}/hook",
        "SAFELIGHT_MODERATION_IMAGES": "true",
        "SAFELIGHT_MODERATION_IGNORE": "illicit",
        "SAFELIGHT_OPENAI_API_KEY": "sk-test",
        "SAFELIGHT_OPENAI_BASE_URL": f"{stub.url}/v1",
    }
    with Stack(directory / "moderated", fresh_database(), valkey.url, **settings) as stack:
        stack.api()
        stack.worker()
        stack.sweep()
        yield stack


@pytest.mark.parametrize(
    ("prompt", "check", "stage", "categories"),
    [
        ("a cat in an A.C.M.E. hat", "words", "prompt", ["brand"]),
        ("a fight [openai: violence]", "openai", "prompt", ["violence"]),
        ("a shoe [hook: logo] [openai: illicit]", "hook", "prompt", ["logo"]),
        ("a shoe [hook image: logo]", "hook", "image", ["logo"]),
    ],
)
def test_a_rejected_job_fails_with_its_verdict(
    moderated: Stack, prompt: str, check: str, stage: str, categories: list[str]
) -> None:
    job = moderated.final(moderated.submit(prompt)["id"])

    assert (job["status"], job["error"]["code"]) == ("failed", "content_policy_violation")
    assert categories[0] in job["error"]["message"]
    assert job["images"] == []
    assert (job["moderation"]["outcome"], job["moderation"]["check"]) == ("reject", check)
    assert (job["moderation"]["stage"], job["moderation"]["categories"]) == (stage, categories)
    assert job["attempts"] == 1


def test_a_job_that_passes_tells_which_checks_ran(moderated: Stack, stub: ModerationStub) -> None:
    job = moderated.final(moderated.submit("a quiet meadow")["id"])

    assert job["status"] == "completed"
    assert job["moderation"] == {
        "outcome": "pass", "checks": ["words", "openai", "hook"], "check": None, "stage": None, "categories": [],
    }  # fmt: skip
    assert stub.hook_stages("meadow") == ["prompt", "image"]


def test_only_the_rejected_job_of_a_micro_batch_fails(moderated: Stack) -> None:
    answer = moderated.client.post(
        "/v1/batches", json={"prompts": ["a cat", "an acme cat", "a dog"], "model": "fake", "size": "64x64"}
    )
    batch_id = answer.raise_for_status().json()["id"]
    jobs = [job for job in moderated.client.get("/v1/jobs", params={"batch_id": batch_id}).json()["data"]]
    final = {job["prompt"]: moderated.final(job["id"]) for job in jobs}

    assert {prompt: job["status"] for prompt, job in final.items()} == {
        "a cat": "completed", "an acme cat": "failed", "a dog": "completed",
    }  # fmt: skip


def test_a_check_that_does_not_answer_is_not_skipped(moderated: Stack) -> None:
    job = moderated.final(moderated.submit("a bridge [openai away]", model="fake")["id"])

    assert job["status"] == "completed"
    assert job["moderation"]["checks"] == ["words", "openai", "hook"]


def test_a_synchronous_call_gets_openais_error(moderated: Stack) -> None:
    with (
        openai.OpenAI(base_url=f"{moderated.url}/v1", api_key="anything") as client,
        pytest.raises(openai.BadRequestError) as refusal,
    ):
        client.images.generate(model="fake", prompt="an acme logo", size="64x64")

    assert refusal.value.code == "content_policy_violation"
    assert refusal.value.type == "invalid_request_error"
