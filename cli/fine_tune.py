"""`safelight fine-tune create | list | show | events | cancel`."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.client import Key, Url, check_fine_tuning_id, connect, json_line
from cli.errors import CommandError
from cli.table import format_duration, format_table, one_line
from safelight_client import Safelight, models

app = typer.Typer(
    name="fine-tune",
    help="Train a LoRA of a model on your images; list, show and cancel such jobs.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

PATH = "/v1/fine_tuning/jobs"
PAGE = 100

FineTuningId = Annotated[
    str, typer.Argument(metavar="JOB", help="Id of the fine-tuning job.", callback=check_fine_tuning_id)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per line, as the API sends it.")]
Limit = Annotated[int, typer.Option(min=1, help="Maximum number, newest first.")]


@app.command()
def create(
    file: Annotated[str, typer.Argument(help="A ZIP of images and captions, a .jsonl file, or the id of such a file.")],
    model: Annotated[str, typer.Option(help="Model to train.")],
    suffix: Annotated[str | None, typer.Option(help="Part of the name of the new model.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the training. Default: random.")] = None,
    epochs: Annotated[int | None, typer.Option(help="How often each image is seen.")] = None,
    steps: Annotated[int | None, typer.Option(help="Number of steps, in the place of --epochs.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images of a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    rank: Annotated[int | None, typer.Option(help="Rank of the LoRA.")] = None,
    resolution: Annotated[int | None, typer.Option(help="Side of the images in pixels.")] = None,
    url: Url = None,
    key: Key = None,
) -> None:
    """Upload the images, submit a fine-tuning job and print its id. Defaults are those of the catalogue."""
    values = {
        "n_epochs": epochs,
        "steps": steps,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "rank": rank,
        "resolution": resolution,
    }
    hyperparameters = {name: value for name, value in values.items() if value is not None}
    body: dict[str, Any] = {"model": model, "hyperparameters": hyperparameters, "suffix": suffix, "seed": seed}
    with connect(url, key) as client:
        body["training_file"] = _upload(client, file)
        job = models.FineTuningJobObject.model_validate(
            client.request("POST", PATH, body={name: value for name, value in body.items() if value is not None})
        )
    for warning in job.warnings:
        print(f"safelight: {warning.message}", file=sys.stderr)
    print(job.id)


@app.command("list")
def list_jobs(limit: Limit = 20, as_json: AsJson = False, url: Url = None, key: Key = None) -> None:
    """List fine-tuning jobs: id, status, steps, age, model."""
    with connect(url, key) as client:
        jobs = [models.FineTuningJobObject.model_validate(item) for item in _items(client, PATH, limit)]
    if as_json:
        for job in jobs:
            print(json_line(job))
    elif not jobs:
        print("There are no fine-tuning jobs.", file=sys.stderr)
    else:
        now = time.time()
        rows = [
            (job.id, job.status, _steps(job), format_duration(now - job.created_at), job.fine_tuned_model or job.model)
            for job in jobs
        ]
        print("\n".join(format_table([("ID", "STATUS", "STEPS", "AGE", "MODEL"), *rows])))


@app.command()
def show(job_id: FineTuningId, as_json: AsJson = False, url: Url = None, key: Key = None) -> None:
    """Show a fine-tuning job: its status and steps, its model, and the reason if it failed."""
    with connect(url, key) as client:
        job = models.FineTuningJobObject.model_validate(client.request("GET", f"{PATH}/{job_id}"))
    if as_json:
        print(json_line(job))
        return
    fields = {
        "id": job.id,
        "status": job.status,
        "steps": _steps(job),
        "images": job.trained_images,
        "base": job.model,
        "model": job.fine_tuned_model,
        "file": job.training_file,
        "seed": job.seed,
        "error": None if job.error is None else one_line(job.error.message),
    }
    for name, value in fields.items():
        if value is not None:
            print(f"{name:<9} {value}")


@app.command()
def events(job_id: FineTuningId, limit: Limit = 20, as_json: AsJson = False, url: Url = None, key: Key = None) -> None:
    """Print the newest events of a fine-tuning job, the last one last: messages, and the losses of its steps."""
    with connect(url, key) as client:
        items = list(_items(client, f"{PATH}/{job_id}/events", limit))
    for item in reversed(items):
        event = models.FineTuningEventObject.model_validate(item)
        print(json_line(event) if as_json else one_line(event.message))


@app.command()
def cancel(job_id: FineTuningId, url: Url = None, key: Key = None) -> None:
    """Cancel a fine-tuning job. Its checkpoints stay."""
    with connect(url, key) as client:
        job = models.FineTuningJobObject.model_validate(client.request("POST", f"{PATH}/{job_id}/cancel"))
    print(f"{job.id} is {job.status}.")


def _upload(client: Safelight, file: str) -> str:
    """The id of the training file."""
    path = Path(file)
    if file.startswith("file-") and not path.exists():
        return file
    if not path.is_file():
        raise CommandError(f"There is no file {file!r}.")
    return client.files.upload(path, purpose="fine-tune").id


def _items(client: Safelight, path: str, limit: int) -> Iterator[dict[str, Any]]:
    """The newest `limit` items of a list, page by page."""
    after: str | None = None
    while limit > 0:
        parameters: dict[str, Any] = {"limit": min(limit, PAGE)} | ({} if after is None else {"after": after})
        page = client.request("GET", path, params=parameters)
        yield from page["data"]
        limit -= len(page["data"])
        if not page["has_more"]:
            return
        after = page["data"][-1]["id"]


def _steps(job: models.FineTuningJobObject) -> str:
    return f"{job.step}/{'?' if job.total_steps is None else job.total_steps}"
