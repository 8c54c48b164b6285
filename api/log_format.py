"""The format of the API's log: a message is one line, whatever a request put into it."""

import logging
import re

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Characters that end a line or change a terminal."""


class OneLineFormatter(logging.Formatter):
    """Escapes control characters in the message. A traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line of a record, without its traceback."""
        return CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), super().formatMessage(record))


def install(level: str) -> None:
    """Write the log to stderr, from a level on, in this format."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLineFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])
