"""The settings of devices and providers."""

from datetime import timedelta
from typing import Annotated

from annotated_types import Ge
from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings

from core.settings.types import ENVIRONMENT, Duration, set_or_none


class GeneratorSettings(BaseSettings):
    """The settings of devices and providers."""

    model_config = ENVIRONMENT

    torch_threads: Annotated[int, Ge(0)] = Field(
        0, description="Number of CPU threads for torch. 0: the generator chooses."
    )
    device: str = Field("auto", description="torch device: auto, cpu, cuda, cuda:1, mps.")
    openai_api_key: Annotated[SecretStr | None, BeforeValidator(set_or_none)] = Field(
        None, description="OpenAI API key. Without it, the models of the generator `openai_images` are not available."
    )
    openai_base_url: str = Field(
        "https://api.openai.com/v1", description="Base URL of OpenAI's API or of a compatible API."
    )
    openai_timeout: Duration = Field(
        timedelta(seconds=300), description="Maximum time of a call to OpenAI; shorter than attempt_timeout."
    )
    openai_retry_unknown: bool = Field(
        False,
        description="Repeat a call whose images were lost although it may have been billed; it may be billed twice.",
    )
    openai_breaker_failures: Annotated[int, Ge(1)] = Field(
        10,
        description="Circuit breaker: number of consecutive failed calls after which jobs wait and only single calls "
        "are tried.",
    )
    openai_breaker_pause: Duration = Field(
        timedelta(seconds=10),
        description="Circuit breaker: pause before the first single call; it doubles up to six times.",
    )
