"""`safelight reproduce JOB`: draws the images of a job again and prints how they compare."""

from typing import Annotated

import typer

from cli.client import JobId, Key, Url, connect
from cli.errors import CommandError
from cli.watch import check_completed, follow
from safelight_client import models


def reproduce(
    job_id: JobId,
    image: Annotated[str | None, typer.Option(help="Id of one image of the job. Default: all images.")] = None,
    url: Url = None,
    key: Key = None,
) -> None:
    """Draw the images of a completed job again, and print for each whether it is identical or what differs."""
    with connect(url, key) as client:
        job = follow(client, client.jobs.reproduce(job_id, image=image).id)
    check_completed(job)
    if job.reproduction is None:
        raise CommandError(f"{job.id} is completed, but its worker is older and compared nothing.")
    for result in job.reproduction.images:
        print(describe(result))
    if not job.reproduction.identical:
        raise typer.Exit(1)


def describe(result: models.ImageReproduction) -> str:
    """How an image compares with its original, in a line and one more for each difference of the receipts."""
    verdict = "identical" if result.identical else result.reason or "another image"
    if result.psnr_db is not None:
        verdict = f"differs: PSNR {result.psnr_db:g} dB, largest difference {result.max_difference} of 255"
    lines = [f"{result.reproduces} {result.image_id}: {verdict}"]
    lines += [f"  {name}: {value.original} -> {value.reproduction}" for name, value in result.differences.items()]
    return "\n".join(lines)
