"""`safelight bench model` on the fake model and on the one that ships."""

import json
from pathlib import Path
from typing import Any

import pytest

import core
from tests.cli.terminal import Terminal

BUNDLED = str(Path(core.__file__).parent.parent / "models" / "catalog.toml")


@pytest.fixture
def terminal(directory: Path) -> Terminal:
    return Terminal(directory / "bench", 1)


def measured(terminal: Terminal, *arguments: str, **settings: str) -> dict[str, Any]:
    ended = terminal.run("bench", "model", "--json", *arguments, **settings)
    assert ended.returncode == 0, ended
    report: dict[str, Any] = json.loads(ended.stdout)
    return report


def test_every_batch_is_measured_in_every_round_and_held_against_a_single_image(terminal: Terminal) -> None:
    report = measured(terminal, "--model", "slow", "--batches", "2", "--seconds", "0", "--steps", "2")
    assert (report["model"], report["size"], report["steps"]) == ("slow", "64x64", 2)
    batches = report["batches"]
    # The fake model's step takes as long for many as for one, so doubling goes on to the limit.
    assert [batch["size"] for batch in batches] == [1, 2, 4, 8, 16, 32, 64]
    assert report["best_batch"] == 64
    for batch in batches:
        assert len(batch["seconds"]) == 3
        assert min(batch["seconds"]) >= 0.2
        assert batch["same_bytes_as_alone"]
    assert batches[0]["against_one"] == 1
    assert report["peak_bytes"] > 10_000_000
    assert report["device_peak_bytes"] is None


@pytest.mark.slow
def test_the_bundled_model_is_measured_as_a_worker_loads_it(terminal: Terminal) -> None:
    report = measured(
        terminal,
        *("--model", "unclip-mini", "--size", "128x128", "--steps", "2", "--batches", "2", "--seconds", "0"),
        SAFELIGHT_CATALOG=BUNDLED,
        SAFELIGHT_DEVICE="cpu",
    )
    assert report["receipt"]["model"] == "unclip-mini"
    assert report["receipt"]["device"] == "cpu"
    cold = report["first_image_seconds"]["cold"]
    assert cold["load"] > 0
    assert cold["draw"] > 0
    assert [batch["size"] for batch in report["batches"]][:2] == [1, 2]
    assert all(batch["same_bytes_as_alone"] for batch in report["batches"])


def test_the_table_says_what_was_measured_and_how(terminal: Terminal) -> None:
    ended = terminal.run("bench", "model", "--batches", "1", "--seconds", "0", "--steps", "1")
    assert ended.returncode == 0, ended
    first, *lines = ended.stdout.splitlines()
    assert first.startswith("fake, 64x64, 1 steps, guidance 5; cpu (uint8), ")
    assert lines[-1].startswith("Medians [min..max] of 3 rounds")
    assert any(line.startswith("Best batch: ") for line in lines)
    assert "Round 3" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--batches", "0"), "--batches must be numbers from 1 to 64, separated by commas, not '0'."),
        (("--batches", "1,x"), "--batches must be numbers from 1 to 64, separated by commas, not '1,x'."),
        (("--size", "65x65"), "size '65x65' is not available for fake; choose from 64x64."),
        (("--steps", "1001"), "steps is 1001; the allowed range is 1 to 1000."),
        (("--model", "nobody"), "The model 'nobody' does not exist. Available models: fake, slow."),
    ],
)
def test_what_cannot_be_measured_is_refused_in_a_sentence(
    terminal: Terminal, arguments: tuple[str, ...], said: str
) -> None:
    assert terminal.refusal("bench", "model", *arguments) == said
