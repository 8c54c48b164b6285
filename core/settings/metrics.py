"""The settings of the metrics. `Settings` adds all other settings."""

from typing import Annotated

from annotated_types import Ge, Le
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings

from core.settings.types import ENVIRONMENT, set_or_none

MIN_TOKEN_LENGTH = 16


def _check_token(token: SecretStr | None) -> SecretStr | None:
    """Raises ValueError if a token can be guessed, or does not fit into a header."""
    if token is not None:
        value = token.get_secret_value()
        if len(value) < MIN_TOKEN_LENGTH or not value.isascii() or not value.isprintable() or " " in value:
            raise ValueError(
                f"it must have {MIN_TOKEN_LENGTH} or more printable ASCII characters without spaces: "
                "`openssl rand -hex 24` makes one"
            )
    return token


class MetricsSettings(BaseSettings):
    """Who can read the metrics, and where processes other than the API show theirs."""

    model_config = ENVIRONMENT

    metrics_token: Annotated[SecretStr | None, BeforeValidator(set_or_none), AfterValidator(_check_token)] = Field(
        None,
        description="Bearer token with which Prometheus reads `/metrics` of an API that requires keys, 16 characters "
        "or more. Without it, only API keys with the scope `admin` can read it.",
    )
    metrics_host: str = Field(
        "127.0.0.1",
        description="Address on which workers, the sweep and the deliverer show their metrics. They need no token, so "
        "it must be an address that only Prometheus reaches.",
    )
    metrics_port: Annotated[Annotated[int, Ge(1), Le(65531)] | None, BeforeValidator(set_or_none)] = Field(
        None,
        description="Port on which a worker, the sweep or the deliverer shows its metrics; each process of a machine "
        "needs its own. `safelight up` gives it to the sweep, and the next four to the deliverer, the worker, the "
        "worker of remote models and the training worker. Default: no metrics of these processes.",
    )
