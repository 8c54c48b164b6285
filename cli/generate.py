"""`safelight generate a cat -o cat.png`: submit a job, show its progress, save its images.

With --image it is an edit, with --variation a variation; the image is uploaded first.

The output path is checked before the job is submitted, so that no image is generated that cannot be saved. Existing
files are overwritten only with --force.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cli.client import UPLOAD_TTL_SECONDS, Key, Url, connect, explain
from cli.errors import CommandError
from cli.jobs import describe_cancellation
from cli.parameters import FORMATS, Format, extension_of, present, request_options, with_options
from cli.watch import INTERRUPTED, check_completed, follow
from core.requests.job import JobRequest
from safelight_client import Job, Safelight, SafelightError

OPTIONS = tuple(
    request_options(JobRequest, skip=("prompt", "operation", "image", "reference_images", "mask", "dry_run"))
)


@with_options(OPTIONS)
def generate(
    *,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PROMPT...", help="What the images should show; not with --variation.", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="File (n > 1: cat-0.png, cat-1.png ...) or directory. Default: named by the job."
        ),
    ] = None,
    image: Annotated[Path | None, typer.Option(help="Edit this image.")] = None,
    mask: Annotated[
        Path | None,
        typer.Option(help="Edit only where this image, of the same size as the other, is transparent or white."),
    ] = None,
    reference_image: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[ADAPTER[:WEIGHT]=]IMAGE",
            help="An image whose content or style the result takes up, if the model takes one; may be repeated.",
        ),
    ] = None,
    variation: Annotated[bool, typer.Option("--variation", help="Make variations of --image.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Print the job's id and exit.")] = False,
    url: Url = None,
    key: Key = None,
    request: dict[str, Any],
) -> None:
    """Generate images and save them. Progress goes to stderr, their paths to stdout. Ctrl-C cancels the job."""
    if no_wait and output is not None:
        raise CommandError("--no-wait saves nothing, so it does not go with -o.")
    request["output_format"] = choose_format(output, request.get("output_format"))
    check_place(output, request.get("n", 1), force)
    prompt = " ".join(words) if words else None
    references = [_split_reference(text) for text in reference_image or ()]
    request |= {"prompt": prompt, "operation": choose_operation(prompt, image, mask, variation)}
    paths = [path for path in (image, mask) if path is not None]
    controls = [_split_control(text) for text in request.get("control") or ()]
    paths += [path for _, path in (*controls, *references) if isinstance(path, Path)]
    contents = {path: _read_file(path) for path in paths}
    with connect(url, key) as client:
        file_ids = _upload(client, contents)
        request |= _image_fields(image, mask, references, controls, file_ids)
        job = _submit(client, present(request))
        if no_wait:
            print(job.id)
            return
        try:
            job = follow(client, job.id)
            check_completed(job)
            save(job, output or Path(), force)
        except KeyboardInterrupt:
            _cancel(client, job.id)
            raise typer.Exit(INTERRUPTED) from None


def choose_operation(
    prompt: str | None, image: Path | None, mask: Path | None, variation: bool
) -> Literal["edit", "variation"] | None:
    """The operation that the options select; None is a generation. Raises CommandError if they contradict."""
    if image is None and (variation or mask is not None):
        raise CommandError(f"{'--variation' if variation else '--mask'} needs the image to begin with: --image PATH.")
    if variation and (prompt is not None or mask is not None):
        raise CommandError("A variation follows its image alone: --variation takes no prompt and no --mask.")
    if prompt is None and not variation:
        raise CommandError("Name a prompt: safelight generate A cat sitting on a sofa.")
    return None if image is None else "variation" if variation else "edit"


def _split_control(text: str) -> tuple[str, Path | str]:
    """The parts of `--control TYPE[:WEIGHT]=IMAGE`: a path, or the id of a file or an image. Raises CommandError."""
    head, equals, image = text.partition("=")
    if not equals or not image:
        raise CommandError(f"--control {text}: give a type and an image, such as --control depth:0.8=depth.png.")
    return head, image if image.startswith(("file-", "img_", "data:")) else Path(image)


def _split_reference(text: str) -> tuple[str, Path | str]:
    """The parts of `--reference-image [ADAPTER[:WEIGHT]=]IMAGE`: what is before the image, and that as of a control."""
    head, equals, image = text.partition("=")
    if not equals or Path(text).is_file() or text.startswith("data:"):
        head, equals, image = "", "", text
    return head + equals, image if image.startswith(("file-", "img_", "data:")) else Path(image)


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path} cannot be read ({error.strerror}).") from None


def _upload(client: Safelight, contents: Mapping[Path, bytes]) -> Mapping[Path, str]:
    """Upload images; returns the id of each file."""
    upload = partial(client.files.upload, expires_after=UPLOAD_TTL_SECONDS)
    return {path: upload(content, filename=path.name).id for path, content in contents.items()}


def _image_fields(
    image: Path | None,
    mask: Path | None,
    references: Sequence[tuple[str, Path | str]],
    controls: Sequence[tuple[str, Path | str]],
    file_ids: Mapping[Path, str],
) -> dict[str, Any]:
    """The fields of a request that name images; those of this machine by the ids of their files."""

    def place(source: Path | str) -> str:
        return file_ids[source] if isinstance(source, Path) else source

    return {
        "image": None if image is None else {"file_id": file_ids[image]},
        "mask": None if mask is None else {"file_id": file_ids[mask]},
        "reference_images": [head + place(source) for head, source in references] or None,
        "control": [f"{head}={place(source)}" for head, source in controls] or None,
    }


def _submit(client: Safelight, request: dict[str, Any]) -> Job:
    try:
        return client.jobs.create(**request)
    except KeyboardInterrupt:
        print("Interrupted while submitting the job; `safelight jobs` shows whether it is there.", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None


def _cancel(client: Safelight, job_id: str) -> None:
    try:
        outcome = describe_cancellation(client.jobs.cancel(job_id))
    except SafelightError as error:
        outcome = f"{job_id} could not be cancelled: {explain(error)}"
    print(outcome, file=sys.stderr)


def choose_format(output: Path | None, option: Format | None) -> Format | None:
    """The format by a file's extension or --format; None leaves it to the API. Raises CommandError if they differ."""
    if output is None or os.path.isdir(output):
        return option
    extension_format = FORMATS.get(output.suffix.lower())
    if extension_format is None:
        raise CommandError(f"{output} is no directory, and an image's name ends in {', '.join(FORMATS)}.")
    if option not in (None, extension_format):
        raise CommandError(f"{output} is the name of a {extension_format} file, but --format says {option}.")
    return extension_format


def check_place(output: Path | None, n: int, force: bool) -> None:
    """Raise CommandError if the images could not be saved to this path."""
    place = output or Path()
    directory = place if os.path.isdir(place) else place.parent
    if not os.path.isdir(directory):
        raise CommandError(f"There is no directory {directory}.")
    if not os.access(directory, os.W_OK):
        raise CommandError(f"The directory {directory} cannot be written.")
    if os.path.isdir(place) or force:
        return
    for path in output_paths(place, n):
        if os.path.lexists(path):
            raise _exists(path)


def output_paths(path: Path, n: int) -> Sequence[Path]:
    """The paths of n images: cat.png, or cat-0.png, cat-1.png ..."""
    return [path] if n == 1 else [path.with_name(f"{path.stem}-{index}{path.suffix}") for index in range(n)]


def save(job: Job, place: Path, force: bool) -> None:
    """Download a job's images and print their paths."""
    if os.path.isdir(place):
        place = place / f"{job.id}{extension_of(job.images[0].media_type)}"
    for image, path in zip(job.images, output_paths(place, len(job.images)), strict=True):
        content = image.download()
        try:
            with path.open("wb" if force else "xb") as file:
                file.write(content)
        except FileExistsError:
            raise _exists(path) from None
        except OSError as error:
            message = f"{path} cannot be written ({error.strerror}); the image is kept at {image.url}"
            raise CommandError(message) from None
        print(path, flush=True)


def _exists(path: Path) -> CommandError:
    return CommandError(f"{path} exists already: choose another name, or overwrite it with --force.")
