"""What `safelight` says about itself: help with examples, exit codes, version, completion."""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from cli.examples import EXAMPLES, EXIT_CODES
from cli.main import COMMANDS, _load, app
from tests.cli.terminal import SMALL, Terminal
from tests.stack import Stack

SAFELIGHT = Path(sys.executable).parent / "safelight"


def commands() -> Iterator[tuple[str, Any]]:
    """Every command and the commands of its group, by name."""
    for name in COMMANDS:
        command = _load(name)
        yield name, command
        for inner_name, inner in getattr(command, "commands", {}).items():
            yield f"{name} {inner_name}", inner


def test_every_command_has_examples_that_its_parser_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = dict(commands())
    assert set(EXAMPLES) == set(everything)
    group = typer.main.get_command(app)
    for name, examples in EXAMPLES.items():
        for line in examples:
            assert line in everything[name].epilog
            program, command_name, *arguments = shlex.split(line)
            assert program == "safelight"
            command = _load(command_name)
            with group.make_context("safelight", [command_name]) as parent:
                if hasattr(command, "commands"):
                    command_name, command, arguments = command.resolve_command(parent, arguments)
                with command.make_context(command_name, arguments, parent=parent) as context:
                    assert not context.args, line


def test_help_version_and_exit_codes_are_in_the_overview(terminal: Terminal) -> None:
    overview = terminal.run("-h").stdout
    assert all(f"  {code:<4} {meaning}" in overview for code, meaning in EXIT_CODES.items())
    assert "--install-completion" in overview


def test_a_shell_completes_a_command() -> None:
    words = {"COMP_WORDS": "safelight generate --neg", "COMP_CWORD": "2", "_SAFELIGHT_COMPLETE": "complete_bash"}

    result = subprocess.run([SAFELIGHT], env={**os.environ, **words}, capture_output=True, text=True, check=False)

    assert result.stdout.split() == ["--negative-prompt", "--negative-prompt-2"]


def test_a_prompt_needs_no_quotes(terminal: Terminal, safelight: Stack) -> None:
    job_id = terminal.run("generate", "a", "cat", *SMALL, "on a", "sofa", "--no-wait").stdout.strip()

    assert safelight.job(job_id)["prompt"] == "a cat on a sofa"


def test_a_reference_image_that_cannot_be_read_is_named(terminal: Terminal) -> None:
    message = terminal.refusal("generate", "a cat", "--reference-image", "style:0.5=room.png")
    assert message == "room.png cannot be read (No such file or directory)."
