"""`safelight`: the table of commands. A command is imported when it is called, so that `safelight --help` is fast.

A command that cannot continue raises CommandError: its message goes to stderr, the exit code is 1.
"""

import sys
from importlib import import_module
from typing import Annotated, Any

import typer
import typer.core
import typer.main

from cli.errors import CommandError
from cli.examples import epilog

HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}

COMMANDS = {
    "up": ("cli.local.up:up", "Run all of Safelight on this machine; Ctrl-C stops it."),
    "generate": ("cli.generate:generate", "Generate images from a prompt and save them."),
    "watch": ("cli.watch:watch", "Follow a job until it finishes."),
    "jobs": ("cli.jobs:jobs", "List jobs."),
    "cancel": ("cli.jobs:cancel", "Cancel a job."),
    "reproduce": ("cli.reproduce:reproduce", "Generate a job's images again and compare them."),
    "batch": ("cli.batch.command:batch", "Generate images for a file of prompts; resumes if run again."),
    "batches": ("cli.batch.batches:app", "List, show, cancel and retry batches."),
    "fine-tune": ("cli.fine_tune:app", "Train a LoRA on your images; list, show and cancel such jobs."),
    "webhooks": ("cli.webhooks:app", "Receive webhooks on this machine, for tests."),
    "mcp": ("cli.mcp:mcp", "Offer the tools for agents over stdin and stdout."),
    "doctor": ("cli.doctor:doctor", "Check the installation and suggest fixes."),
    "bench": ("cli.bench:app", "Measure the speed of a model on this machine."),
    "models": ("cli.models.command:app", "List, check and add the models of the catalogue."),
    "keys": ("cli.keys:app", "Create, list and revoke API keys."),
    "erase": ("cli.erase:erase", "Delete all data of a job, a batch, an end user or a project."),
    "admin": ("cli.admin.command:app", "Show, pause and drain queues and workers."),
    "top": ("cli.top:top", "Watch queues, workers, rates and failures."),
    "projects": ("cli.projects:app", "List projects, and set and show their limits."),
    "usage": ("cli.usage:usage", "Print what projects used: images, device time, costs."),
    "api": ("cli.local.serve:api", "Run only the API."),
    "worker": ("cli.local.serve:worker", "Run only a worker."),
    "training": ("cli.local.serve:training", "Run only a worker of fine-tuning jobs."),
    "sweep": ("cli.local.serve:sweep", "Run only the sweep."),
    "deliver": ("cli.local.serve:deliver", "Run only the deliverer of webhooks."),
    "migrate": ("cli.local.serve:migrate", "Migrate the database to the newest revision."),
    "version": ("cli.local.serve:version", "Print the version."),
}
"""Name: the function (or typer application), and its line in the overview."""


class LazyGroup(typer.core.TyperGroup):
    """Lists the commands of the table and imports only the command that is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All commands, in the table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command for the overview: its name and its line."""
        return typer.core.TyperCommand(cmd_name, help=COMMANDS[cmd_name][1]) if cmd_name in COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is called, imported."""
        name, command, arguments = super().resolve_command(ctx, args)
        return name, command and _load(command.name or ""), arguments

    def invoke(self, ctx: Any) -> Any:
        """Call the command. A CommandError becomes one line on stderr and exit code 1."""
        try:
            return super().invoke(ctx)
        except CommandError as error:
            print(f"safelight: {error}", file=sys.stderr)
            raise typer.Exit(1) from None


def _load(name: str) -> Any:
    module, _, attribute = COMMANDS[name][0].partition(":")
    try:
        command = getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        from cli.packages import install_command

        raise CommandError(
            f"`safelight {name}` needs the package {error.name}: {install_command('api', 'cli', 'embedded')}"
        ) from error
    if isinstance(command, typer.Typer):
        return _with_examples(name, typer.main.get_command(command))
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(name)(command)
    return _with_examples(name, typer.main.get_command(single))


def _with_examples(name: str, command: Any) -> Any:
    """The command, with examples at the end of its help and of that of its own commands."""
    command.epilog = epilog(name)
    for inner_name, inner in getattr(command, "commands", {}).items():
        inner.epilog = epilog(f"{name} {inner_name}")
    return command


def _print_version(value: bool) -> None:
    if value:
        from cli.local.serve import version

        version()
        raise typer.Exit


app = typer.Typer(
    cls=LazyGroup,
    help="Image generation as durable jobs, on your own hardware.",
    no_args_is_help=True,
    epilog=epilog(""),
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=HELP_OPTIONS,  # commands inherit them
)


@app.callback()
def _safelight(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Make `app` a group of commands."""


if __name__ == "__main__":
    app()
