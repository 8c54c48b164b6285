"""The scopes of API keys: what a key may be used for. A route of the API needs one of them."""

from enum import StrEnum


class Scope(StrEnum):
    """What a key may be used for. No scope contains another."""

    SUBMIT = "submit"
    """Submit, cancel, retry and delete jobs, batches and files; the synchronous images calls."""

    READ = "read"
    """Read and follow jobs, batches, images, files and models."""

    WEBHOOKS = "webhooks"
    """Everything about webhook endpoints and their deliveries."""

    ADMIN = "admin"
    """Calls for operators, such as the audit log."""


ALL_SCOPES = frozenset(Scope)

DEFAULT_SCOPES = (Scope.SUBMIT, Scope.READ, Scope.WEBHOOKS)
"""The scopes of a key that is created without any, and of the keys of versions that had no scopes."""
