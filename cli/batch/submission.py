"""From a file of prompts to a batch that is known to be there, once, however often the command dies on the way.

The key and the uploaded file are written down before the batch is posted: posting it again is the same request.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any
from uuid import uuid4

from cli.batch.client import Batch, Batches
from cli.batch.input import BatchInput
from cli.batch.output_directory import OutputDirectory, State
from cli.batch.summary import told_errors, told_estimate
from cli.errors import CommandError, Refused
from cli.table import counted

PURPOSE = "batch"

LOOKED_THROUGH = 1000
"""Batches among which one that may have been posted is looked for."""


def estimate(batches: Batches, given: BatchInput, request: Mapping[str, Any]) -> bool:
    """Print what a batch would be, and everything that is wrong with it. Returns whether nothing is."""
    file_id = batches.client.upload(given.name, given.content, PURPOSE)
    try:
        found = batches.estimate({**request, "input_file_id": file_id})
    finally:
        batches.client.request("DELETE", f"/v1/files/{file_id}")
    errors = found["errors"]["data"]
    for line in told_estimate(found):
        print(line)
    if errors:
        print(f"{counted(len(errors), 'error')}:")
    for line in told_errors(errors):
        print(line)
    return not errors


def submit(batches: Batches, given: BatchInput, request: Mapping[str, Any]) -> Batch:
    """Submit a batch that nothing remembers."""
    file_id = batches.client.upload(given.name, given.content, PURPOSE)
    return batches.submit({**request, "input_file_id": file_id}, str(uuid4()))


def recall(
    batches: Batches,
    directory: OutputDirectory,
    given: BatchInput | None,
    batch_id: str | None,
    request: dict[str, Any],
    *,
    is_new: bool,
) -> State:
    """What the directory knows of the batch that is meant; begun if it knows none.

    Raises CommandError if the directory belongs to another batch, or what is in it belongs to nobody.
    """
    fingerprint = _fingerprint(given, batch_id, request)
    state = None if is_new else directory.state
    if state is not None:
        is_meant = (given is None and batch_id is None) or batch_id in state["batches"]
        if is_meant or state["fingerprint"] == fingerprint:
            return state
        whose = state["batches"][-1] if state["batches"] else "a batch"
        raise CommandError(
            f"{directory.path} belongs to {whose}, of other prompts or options: choose another directory, "
            "or begin anew in it with --new."
        )
    if given is None and batch_id is None:
        raise CommandError(f"{directory.path} belongs to no batch: name a FILE of prompts, or a batch by --batch.")
    if not is_new and not directory.is_bare:
        raise CommandError(
            f"{directory.path} is not empty and belongs to no batch: choose another directory, "
            "or write over what is there with --new."
        )
    known = [] if batch_id is None else [batches.get(batch_id)["id"]]
    state = State(fingerprint=fingerprint, idempotency_key=str(uuid4()), request=request, file_id=None, batches=known)
    directory.remember(state)
    return state


def ensure(batches: Batches, directory: OutputDirectory, state: State, given: BatchInput | None) -> None:
    """Submit the batch that a directory is for, unless it is known to be there. What is refused is forgotten."""
    if state["batches"]:
        return
    try:
        if (posted := _posted(batches, state["file_id"])) is not None:
            state["batches"].append(posted)
            directory.remember(state)
            return
        if state["file_id"] is None:
            if given is None:
                raise CommandError("The prompts were not sent yet: name their FILE again.")
            state["file_id"] = batches.client.upload(given.name, given.content, PURPOSE)
            directory.remember(state)
        request = {**state["request"], "input_file_id": state["file_id"]}
        state["batches"].append(batches.submit(request, state["idempotency_key"])["id"])
    except Refused:
        directory.forget()
        raise
    directory.remember(state)


def _posted(batches: Batches, file_id: str | None) -> str | None:
    """The batch of a file, where a command died after it had posted it; its key may be forgotten by now."""
    if file_id is None:
        return None
    return next((batch["id"] for batch in batches.newest(LOOKED_THROUGH) if batch["input_file_id"] == file_id), None)


def retry(batches: Batches, directory: OutputDirectory, state: State) -> None:
    """Try the lines that did not complete once more."""
    state["batches"].append(batches.retry(state["batches"][-1])["id"])
    directory.remember(state)


def _fingerprint(given: BatchInput | None, batch_id: str | None, request: Mapping[str, Any]) -> str:
    told = [batch_id] if given is None else [given.name.rpartition(".")[2], given.sha256, request]
    return sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
