"""Submits a batch exactly once, even if the command dies and is run again.

The idempotency key and the id of the uploaded file are saved before the batch is submitted, so the next run sends the
same request.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any
from uuid import uuid4

from cli.batch.input import BatchInput
from cli.batch.output_directory import OutputDirectory, State
from cli.batch.summary import format_errors, format_estimate, format_input
from cli.client import UPLOAD_TTL_SECONDS, explain
from cli.errors import CommandError, RequestRejected
from cli.table import format_count
from safelight_client import Batch, Safelight, SafelightError

PURPOSE = "batch"

MAX_SEARCH = 1000
"""The number of newest batches in which a batch that may have been submitted is searched."""


def estimate(client: Safelight, source: BatchInput, request: Mapping[str, Any]) -> bool:
    """Print the estimate for a batch and all errors in its input. Returns whether there are no errors."""
    file_id = _upload(client, source)
    try:
        result = client.batches.dry_run(**{**request, "input_file_id": file_id})
    finally:
        client.files.delete(file_id)
    errors = result.errors.data
    for line in format_estimate(result):
        print(line)
    for line in format_input(result.input):
        print(line)
    if errors:
        print(f"{format_count(len(errors), 'error')}:")
    for line in format_errors(errors):
        print(line)
    return not errors


def submit(client: Safelight, source: BatchInput, request: Mapping[str, Any]) -> Batch:
    """Submit a batch without an output directory."""
    return client.batches.create(**{**request, "input_file_id": _upload(client, source)})


def _upload(client: Safelight, source: BatchInput) -> str:
    """Upload the input of a batch; returns the id of the file."""
    file = client.files.upload(source.content, filename=source.name, purpose=PURPOSE, expires_after=UPLOAD_TTL_SECONDS)
    return file.id


def load_state(
    client: Safelight,
    directory: OutputDirectory,
    source: BatchInput | None,
    batch_id: str | None,
    request: dict[str, Any],
    *,
    is_new: bool,
) -> State:
    """The state of the directory for this input or batch; created if there is none.

    Raises CommandError if the directory belongs to another batch, or has files and belongs to no batch.
    """
    fingerprint = _fingerprint(source, batch_id, request)
    state = None if is_new else directory.state
    if state is not None:
        is_same = (source is None and batch_id is None) or batch_id in state["batches"]
        if is_same or state["fingerprint"] == fingerprint:
            return state
        owner = state["batches"][-1] if state["batches"] else "a batch"
        raise CommandError(
            f"{directory.path} belongs to {owner} with other prompts or options: choose another directory, "
            "or start a new batch in it with --new."
        )
    if source is None and batch_id is None:
        raise CommandError(f"{directory.path} belongs to no batch: add a FILE of prompts, or a batch with --batch.")
    if not is_new and not directory.is_empty:
        raise CommandError(
            f"{directory.path} is not empty and belongs to no batch: choose another directory, "
            "or overwrite its files with --new."
        )
    ids = [] if batch_id is None else [client.batches.retrieve(batch_id).id]
    state = State(fingerprint=fingerprint, idempotency_key=str(uuid4()), request=request, file_id=None, batches=ids)
    directory.save_state(state)
    return state


def ensure_submitted(client: Safelight, directory: OutputDirectory, state: State, source: BatchInput | None) -> None:
    """Submit the batch of a directory if it is not submitted yet. If the API rejects it, the state is deleted."""
    if state["batches"]:
        return
    try:
        if (batch_id := _find_submitted(client, state["file_id"])) is not None:
            state["batches"].append(batch_id)
            directory.save_state(state)
            return
        if state["file_id"] is None:
            if source is None:
                raise CommandError("The prompts are not uploaded yet: add their FILE to the command.")
            state["file_id"] = _upload(client, source)
            directory.save_state(state)
        request = {**state["request"], "input_file_id": state["file_id"]}
        batch = client.batches.create(idempotency_key=state["idempotency_key"], **request)
        state["batches"].append(batch.id)
    except SafelightError as error:
        if isinstance(explain(error), RequestRejected):
            directory.delete_state()
        raise
    directory.save_state(state)


def _find_submitted(client: Safelight, file_id: str | None) -> str | None:
    """The batch of a file, if a command died after it had submitted it. The idempotency key may have expired."""
    if file_id is None:
        return None
    return next((batch.id for batch in client.batches.list(limit=MAX_SEARCH) if batch.input_file_id == file_id), None)


def retry(client: Safelight, directory: OutputDirectory, state: State) -> None:
    """Submit the lines that did not complete as a new batch."""
    state["batches"].append(client.batches.retry(state["batches"][-1]).id)
    directory.save_state(state)


def _fingerprint(source: BatchInput | None, batch_id: str | None, request: Mapping[str, Any]) -> str:
    content = [batch_id] if source is None else [source.name.rpartition(".")[2], source.sha256, request]
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
