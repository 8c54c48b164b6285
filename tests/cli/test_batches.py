"""`safelight batches list | show | cancel | retry`, against a real API."""

import json

from tests.cli.batches import Prompts
from tests.cli.terminal import SMALL, Terminal
from tests.stack import Stack


def a_waiting_batch(terminal: Terminal, safelight: Stack) -> str:
    """A batch that nobody draws."""
    prompts = Prompts(terminal, "a.txt", "A cat.\nA dog.\n")
    return terminal.run(*prompts.command(*SMALL, "--model", "elsewhere", "--detach")).stdout.strip()


def test_batches_are_listed_shown_cancelled_and_tried_again(terminal: Terminal, safelight: Stack) -> None:
    batch_id = a_waiting_batch(terminal, safelight)

    head, first, *_ = terminal.run("batches", "list", "--limit", "3").stdout.splitlines()
    assert head.split() == ["ID", "STATUS", "FINISHED", "FAILED", "AGE", "MODEL"]
    assert first.split()[0] == batch_id
    assert json.loads(terminal.run("batches", "show", batch_id, "--json").stdout)["id"] == batch_id

    output = terminal.run("batches", "cancel", batch_id).stdout
    assert output in [f"{batch_id} is {status}.\n" for status in ("cancelling", "finalizing", "cancelled")]
    result = terminal.run("batch", "--batch", batch_id, "--out", "images")
    assert result.returncode == 3, result.stderr
    lines = terminal.run("batches", "show", batch_id).stdout.splitlines()
    assert lines[1].split() == ["status", "cancelled"]

    retried = terminal.run("batches", "retry", batch_id).stdout
    assert retried.startswith("batch_")
    assert terminal.run("batches", "retry", batch_id).stdout == retried
    assert f"retry of  {batch_id}" in terminal.run("batches", "show", retried.strip()).stdout
    terminal.run("batches", "cancel", retried.strip())


def test_a_batch_that_is_not_there_is_named(terminal: Terminal) -> None:
    for name in ("show", "cancel", "retry"):
        assert terminal.refusal("batches", name, "batch_nothing") == "There is no batch 'batch_nothing'."
        assert "is not the id of a batch" in terminal.refusal("batches", name, "../jobs")
