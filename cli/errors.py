"""What the command line says when it cannot go on: one sentence on stderr and exit code 1, never a traceback."""


class CommandError(Exception):
    """The command cannot go on. The message is one sentence that says why and what to do."""


class Refused(CommandError):
    """The API has said no, and would say it again."""


class NotThere(Refused):
    """The API does not have, or not any more, what was asked for."""
