"""The generator without a model: what the words in brackets in its prompts do."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Thread

import pytest

from core.catalog import load_catalog
from core.generation import Generator, ImageRequest
from core.generation_errors import GenerationError, GeneratorFailed, OutOfMemory
from core.settings import Settings
from tests.image_requests import image_request
from tests.waiting import PATIENCE
from worker.generators import build

from .kinds import RecordingReporter, a_model

ROOT = Path(__file__).parents[2]


def a_fake_request(prompt: str, seed: int = 0) -> ImageRequest:
    return image_request(prompt, side=64, seed=seed, steps=4, guidance_scale=5.0)


@pytest.fixture
def fake() -> Generator:
    return build(a_model(generator="fake", options={"faults": True}), Settings())


@pytest.mark.parametrize(
    ("prompt", "error", "retryable", "steps"),
    [
        ("[fail]", GeneratorFailed, True, [(0, 4)]),
        ("[refuse]", GenerationError, False, [(0, 4)]),
        ("[oom]", OutOfMemory, False, []),
        ("[oom always]", OutOfMemory, False, []),
    ],
)
def test_a_word_in_a_prompt_makes_the_fake_one_fail_the_whole_call(
    fake: Generator, prompt: str, error: type[GenerationError], retryable: bool, steps: Sequence[tuple[int, int]]
) -> None:
    reporter = RecordingReporter()
    with pytest.raises(GenerationError) as caught:
        fake.generate([a_fake_request("a cat"), a_fake_request(f"{prompt} a dog")], reporter)
    assert (type(caught.value), caught.value.retryable, reporter.steps) == (error, retryable, steps)


@pytest.mark.parametrize("word", ["[fail]", "[refuse]", "[oom always]", "[crash]", "[hang]"])
def test_no_word_in_a_prompt_does_anything_unless_the_catalogue_says_so(word: str) -> None:
    plain = build(a_model(generator="fake"), Settings())
    assert len(plain.generate([a_fake_request(word)] * 2, RecordingReporter())) == 2


def test_the_shipped_catalogue_has_no_fake_model() -> None:
    assert "fake" not in {model.generator for model in load_catalog(ROOT / "models" / "catalog.toml").models}


def test_the_fake_one_draws_a_single_image_that_runs_out_of_memory_in_company(fake: Generator) -> None:
    assert len(fake.generate([a_fake_request("[oom]")], RecordingReporter())) == 1
    with pytest.raises(OutOfMemory):
        fake.generate([a_fake_request("[oom always]")], RecordingReporter())


def test_the_fake_one_kills_its_process_when_asked_to_crash() -> None:
    program = (
        "from core.catalog import Model; from core.generation import ImageRequest; from core.settings import Settings\n"
        "from core.parameters.job import ResolvedParameters; from worker.generators import build\n"
        "class Reporter:\n"
        "    def step(self, done, total): print(done, total, flush=True)\n"
        "    def preview(self, draw): pass\n"
        "generator = build(Model(id='fake', generator='fake', options={'faults': True}), Settings())\n"
        "parameters = ResolvedParameters(size='64x64', steps=4, guidance_scale=5.0, seed=0)\n"
        "generator.generate([ImageRequest('[crash]', parameters)], Reporter())"
    )
    died = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False, capture_output=True, text=True)
    assert (died.returncode, died.stdout) == (-signal.SIGKILL, "0 4\n1 4\n")


def test_the_fake_one_hangs_when_asked_to(fake: Generator) -> None:
    reporter = RecordingReporter()
    thread = Thread(target=fake.generate, args=([a_fake_request("[hang]")], reporter), daemon=True)
    thread.start()
    assert reporter.call.wait(PATIENCE)
    thread.join(0.1)
    assert thread.is_alive()
    assert reporter.steps == [(0, 4), (1, 4)]
