"""Types of settings: durations, and variables that may be empty."""

from datetime import timedelta
from typing import Annotated

from annotated_types import Gt
from pydantic import BeforeValidator
from pydantic_settings import SettingsConfigDict


def from_seconds(value: object) -> object:
    """Read a number as seconds. Other forms (`PT30S`, timedelta) are left to pydantic."""
    if isinstance(value, str) and value.replace(".", "", 1).isdigit():
        return timedelta(seconds=float(value))
    return value


def set_or_none(value: object) -> object:
    """Read an empty variable as not set: Compose passes variables on that are empty in `.env`."""
    return None if value == "" else value


Duration = Annotated[timedelta, BeforeValidator(from_seconds), Gt(timedelta(0))]

ENVIRONMENT = SettingsConfigDict(env_prefix="SAFELIGHT_", extra="ignore", frozen=True)
"""How each group of settings is read."""
