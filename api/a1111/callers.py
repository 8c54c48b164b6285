"""Whom the webui's state belongs to: its chosen model and its open calls."""

from api.authentication import Caller


def caller_id(caller: Caller) -> str:
    """The API key of a caller or, without keys, the project. Callers with another key have a state of their own."""
    return caller.key_id or caller.project_id
