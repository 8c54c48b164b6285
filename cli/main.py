"""`safelight`: the table of commands. Each is imported when it is called, so that `safelight --help` is quick.

A command says no by raising CommandError: its sentence goes to stderr, the exit code is 1.
"""

import sys
from importlib import import_module
from typing import Any

import typer
import typer.core
import typer.main

from cli.errors import CommandError

COMMANDS = {
    "up": ("cli.local.up:up", "Run everything on this machine; Ctrl-C stops it."),
    "generate": ("cli.generate:generate", "Post a prompt, wait with a progress bar, save the images."),
    "watch": ("cli.watch:watch", "Follow a job to its end."),
    "jobs": ("cli.jobs:jobs", "List jobs."),
    "cancel": ("cli.jobs:cancel", "Stop a job."),
    "batch": ("cli.batch.command:batch", "Draw a file of prompts; run again, it goes on where it stopped."),
    "batches": ("cli.batch.batches:app", "List, show, cancel and retry batches."),
    "webhooks": ("cli.webhooks:app", "Receive webhooks here and show them."),
    "doctor": ("cli.doctor:doctor", "Check each part and say what to do."),
    "bench": ("cli.bench:app", "Measure what a model costs on this machine."),
    "keys": ("cli.keys:app", "API keys: create, list, revoke."),
    "api": ("cli.local.serve:api", "Run the API by itself."),
    "worker": ("cli.local.serve:worker", "Run a worker by itself."),
    "sweep": ("cli.local.serve:sweep", "Run the sweep by itself."),
    "deliver": ("cli.local.serve:deliver", "Run the deliverer of webhooks by itself."),
    "migrate": ("cli.local.serve:migrate", "Bring the database to the newest revision."),
    "version": ("cli.local.serve:version", "Print the version."),
}
"""Name: where the function (or the typer application) is, and one sentence for the overview."""


class LazyGroup(typer.core.TyperGroup):
    """Shows commands by the table, and imports the one that is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Every command, in the table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command as the overview shows it: its name and its sentence."""
        return typer.core.TyperCommand(cmd_name, help=COMMANDS[cmd_name][1]) if cmd_name in COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is called, imported now."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and _load(command.name or ""), rest

    def invoke(self, ctx: Any) -> Any:
        """Call the command; what it cannot do becomes one sentence on stderr and exit code 1."""
        try:
            return super().invoke(ctx)
        except CommandError as error:
            print(f"safelight: {error}", file=sys.stderr)
            raise typer.Exit(1) from None


def _load(name: str) -> Any:
    module, _, attribute = COMMANDS[name][0].partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise CommandError(
            f"`safelight {name}` needs the package {error.name}: pip install 'safelight[api,cli,embedded]'."
        ) from error
    if isinstance(found, typer.Typer):
        return typer.main.get_command(found)
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command(name)(found)
    return typer.main.get_command(alone)


app = typer.Typer(
    cls=LazyGroup,
    help="Image generation as durable jobs, on hardware you own.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def _safelight() -> None:
    """Hold the commands together."""


if __name__ == "__main__":
    app()
