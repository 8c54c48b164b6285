"""Errors of the command line. Each is shown as one sentence on stderr, with exit code 1 and no traceback."""


class CommandError(Exception):
    """The command cannot continue. The message is one sentence: the reason and what to do."""


class RequestRejected(CommandError):
    """The API rejects the request with a 4xx; a retry would be rejected too."""


class NotFound(RequestRejected):
    """The API answers 404: the object does not exist or no longer exists."""
