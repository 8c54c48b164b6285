"""Warnings of a job. A module of its own, so that the command line reads requests without the database's libraries."""

from typing import TypedDict


class JobWarning(TypedDict):
    """Information for the owner of a job; see `core.generation.Notice`, `core.requests.adaptation`."""

    code: str
    message: str
    param: str | None
