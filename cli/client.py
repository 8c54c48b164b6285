"""The client of the commands: `safelight_client`, with each error as one sentence for a terminal."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from pydantic import BaseModel

import safelight_client
from cli.errors import CommandError, NotFound, RequestRejected
from safelight_client import Safelight, SafelightError
from safelight_client.retries import RETRY_SECONDS

UPLOAD_TTL_SECONDS = 30 * 24 * 3600
"""How long an uploaded file is stored, so that its job can be retried. This is the API's maximum."""

Url = Annotated[
    str | None,
    typer.Option(
        envvar="SAFELIGHT_URL", help="URL of Safelight. Default: from the settings of this machine.", metavar="URL"
    ),
]
Key = Annotated[str | None, typer.Option(envvar="SAFELIGHT_API_KEY", help="API key, if the API needs one.")]


def _check_job_id(text: str | None) -> str | None:
    return _check_id(text, "job")


def check_batch_id(text: str | None) -> str | None:
    """The id of a batch, from an option. Raises CommandError if it is none."""
    return _check_id(text, "batch")


def check_fine_tuning_id(text: str | None) -> str | None:
    """The id of a fine-tuning job. Raises CommandError if it is none."""
    if text is not None and not re.fullmatch(r"ftjob-[0-9A-Za-z]+", text):
        example = "ftjob-01kc3m9w8yq6k0v2t5x7z1b4dn"
        raise CommandError(f"{text!r} is not the id of a fine-tuning job; an example is {example}.")
    return text


def _check_id(text: str | None, kind: str) -> str | None:
    if text is not None and not re.fullmatch(rf"{kind}_[0-9A-Za-z]+", text):
        raise CommandError(f"{text!r} is not the id of a {kind}; an example is {kind}_01kc3m9w8yq6k0v2t5x7z1b4dn.")
    return text


JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of the job.", callback=_check_job_id)]
BatchId = Annotated[str, typer.Argument(metavar="BATCH", help="Id of the batch.", callback=check_batch_id)]


def json_line(item: BaseModel) -> str:
    """An object on one line of JSON, as the API sends it."""
    return json.dumps(item.model_dump(mode="json", exclude_unset=True), ensure_ascii=False)


@contextmanager
def connect(
    url: str | None,
    key: str | None,
    retry_seconds: float = RETRY_SECONDS,
    report: Callable[[str], None] | None = None,
) -> Iterator[Safelight]:
    """The client for a command's options; without a URL, for the settings. Its errors leave the block as CommandErrors.

    `report` gets the message of an outage.
    """
    if not url:
        from cli.environment import read_settings
        from cli.panel import api_url

        url = api_url(read_settings())

    def report_outage(reason: str) -> None:
        if report is not None:
            report(f"{client.base_url} {reason}; trying again for up to {retry_seconds:g} s.")

    try:
        with Safelight(url, key, retry_seconds=retry_seconds, on_outage=report_outage) as client:
            yield client
    except SafelightError as error:
        raise explain(error) from None


def explain(error: SafelightError, advice: str = "") -> CommandError:
    """An error of the client as a sentence that says what to do. advice: a further sentence after an outage."""
    match error:
        case safelight_client.InvalidKey():
            return CommandError("The API key has invalid characters: check --key or SAFELIGHT_API_KEY.")
        case safelight_client.ConnectionFailed(has_answered=False):
            return CommandError(
                f"Safelight does not answer at {error.url}: start it with `safelight up`, "
                "or set its URL with --url or SAFELIGHT_URL."
            )
        case safelight_client.ConnectionFailed() | safelight_client.APIError() | safelight_client.UnexpectedResponse():
            return _explain_response(error, advice)
        case safelight_client.DownloadDamaged():
            return CommandError(f"The download of {error.image_id} is damaged (its SHA-256 differs): try again.")
    return CommandError(str(error))


def _explain_response(
    error: safelight_client.ConnectionFailed | safelight_client.APIError | safelight_client.UnexpectedResponse,
    advice: str,
) -> CommandError:
    if error.retry_seconds is not None:
        return CommandError(f"After {error.retry_seconds:g} s {error.base_url} still {error.reason}.{advice}")
    match error:
        case safelight_client.AuthenticationFailed():
            return CommandError(
                "The API key is missing or not valid: set it with --key or SAFELIGHT_API_KEY "
                "(`safelight keys create NAME` creates one)."
            )
        case safelight_client.NotFound():
            return NotFound(error.message)
        case safelight_client.APIError() if error.status < 500:
            return RequestRejected(error.message)
        case safelight_client.APIError():
            return CommandError(f"{error.message} (request {error.request_id})")
        case safelight_client.UnexpectedResponse():
            return CommandError(
                f"{error.url} answered {error.status}, but not as Safelight: check --url or SAFELIGHT_URL."
            )
    return CommandError(str(error))
