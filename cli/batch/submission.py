"""Submits a batch exactly once, even if the command dies and is run again.

The idempotency key and the id of the uploaded file are saved before the batch is submitted, so the next run sends the
same request.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any
from uuid import uuid4

from cli.batch.client import Batch, Batches
from cli.batch.input import BatchInput
from cli.batch.output_directory import OutputDirectory, State
from cli.batch.summary import format_errors, format_estimate, format_input
from cli.errors import CommandError, RequestRejected
from cli.table import format_count

PURPOSE = "batch"

MAX_SEARCH = 1000
"""The number of newest batches in which a batch that may have been submitted is searched."""


def estimate(batches: Batches, source: BatchInput, request: Mapping[str, Any]) -> bool:
    """Print the estimate for a batch and all errors in its input. Returns whether there are no errors."""
    file_id = batches.client.upload(source.name, source.content, PURPOSE)
    try:
        result = batches.estimate({**request, "input_file_id": file_id})
    finally:
        batches.client.request("DELETE", f"/v1/files/{file_id}")
    errors = result["errors"]["data"]
    for line in format_estimate(result):
        print(line)
    for line in format_input(result["input"]):
        print(line)
    if errors:
        print(f"{format_count(len(errors), 'error')}:")
    for line in format_errors(errors):
        print(line)
    return not errors


def submit(batches: Batches, source: BatchInput, request: Mapping[str, Any]) -> Batch:
    """Submit a batch without an output directory."""
    file_id = batches.client.upload(source.name, source.content, PURPOSE)
    return batches.submit({**request, "input_file_id": file_id}, str(uuid4()))


def load_state(
    batches: Batches,
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
    ids = [] if batch_id is None else [batches.get(batch_id)["id"]]
    state = State(fingerprint=fingerprint, idempotency_key=str(uuid4()), request=request, file_id=None, batches=ids)
    directory.save_state(state)
    return state


def ensure_submitted(batches: Batches, directory: OutputDirectory, state: State, source: BatchInput | None) -> None:
    """Submit the batch of a directory if it is not submitted yet. If the API rejects it, the state is deleted."""
    if state["batches"]:
        return
    try:
        if (batch_id := _find_submitted(batches, state["file_id"])) is not None:
            state["batches"].append(batch_id)
            directory.save_state(state)
            return
        if state["file_id"] is None:
            if source is None:
                raise CommandError("The prompts are not uploaded yet: add their FILE to the command.")
            state["file_id"] = batches.client.upload(source.name, source.content, PURPOSE)
            directory.save_state(state)
        request = {**state["request"], "input_file_id": state["file_id"]}
        state["batches"].append(batches.submit(request, state["idempotency_key"])["id"])
    except RequestRejected:
        directory.delete_state()
        raise
    directory.save_state(state)


def _find_submitted(batches: Batches, file_id: str | None) -> str | None:
    """The batch of a file, if a command died after it had submitted it. The idempotency key may have expired."""
    if file_id is None:
        return None
    return next((batch["id"] for batch in batches.newest(MAX_SEARCH) if batch["input_file_id"] == file_id), None)


def retry(batches: Batches, directory: OutputDirectory, state: State) -> None:
    """Submit the lines that did not complete as a new batch."""
    state["batches"].append(batches.retry(state["batches"][-1])["id"])
    directory.save_state(state)


def _fingerprint(source: BatchInput | None, batch_id: str | None, request: Mapping[str, Any]) -> str:
    content = [batch_id] if source is None else [source.name.rpartition(".")[2], source.sha256, request]
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
