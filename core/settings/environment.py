"""Reads the settings of a process from its environment, with sentences for what is wrong."""

import logging
import os
import sys
from collections.abc import Mapping
from difflib import get_close_matches

from pydantic import ValidationError

from core.settings import Settings

PREFIX = "SAFELIGHT_"

OTHER_NAMES = frozenset({"URL", "API_KEY", "WEBHOOK_SECRET"})
"""Variables of the command line that are no settings, without the prefix. Those of the tests begin with TEST_."""

log = logging.getLogger(__name__)


class SettingsError(Exception):
    """A setting has a wrong value. The message is one sentence that names the variable."""


def read() -> Settings:
    """The settings of this process. Raises SettingsError."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        reason = first["msg"].removeprefix("Value error, ")
        subject = f"The setting {PREFIX}{name} is wrong" if name else "The settings are wrong"
        raise SettingsError(f"{subject}: {reason}.") from None


def read_or_exit() -> Settings:
    """The settings of a server. If one is wrong, the process ends with a sentence and exit code 1."""
    try:
        return read()
    except SettingsError as error:
        sys.exit(str(error))


def list_unknown(variables: Mapping[str, str] = os.environ) -> list[str]:
    """A sentence for each variable that looks like a setting and is none."""
    settings = {name.upper() for name in Settings.model_fields}
    sentences = []
    for name in sorted(name.removeprefix(PREFIX) for name in variables if name.startswith(PREFIX)):
        if name not in settings | OTHER_NAMES and not name.startswith("TEST_"):
            nearest = get_close_matches(name, settings, n=1)
            advice = f": did you mean {PREFIX}{nearest[0]}?" if nearest else "."
            sentences.append(f"{PREFIX}{name} is no setting and is ignored{advice}")
    return sentences


def log_unknown() -> None:
    """Log what `list_unknown` says, at the start of a server."""
    for sentence in list_unknown():
        log.warning("%s", sentence)
