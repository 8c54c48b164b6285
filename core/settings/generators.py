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
    model_memory: Annotated[Annotated[int, Ge(1)] | None, BeforeValidator(set_or_none)] = Field(
        None,
        description="Bytes that the weights of all loaded models may take on a worker's device. Models that were not "
        "used for the longest time leave for others. Default: 80 % of a GPU's memory, 50 % of the RAM for a CPU.",
    )
    model_ram: Annotated[int, Ge(0)] = Field(
        0,
        description="Bytes of RAM for models that have left a worker's device: they return from there in a fraction of "
        "the time of loading. Those that were not used for the longest time are freed. 0: none stays.",
    )
    model_patience: Annotated[float, Ge(0)] = Field(
        30.0,
        description="Device-seconds by which jobs of loaded models may overtake jobs whose model would have to be "
        "loaded first. 0: never.",
    )
    max_worker_memory: Annotated[Annotated[int, Ge(1)] | None, BeforeValidator(set_or_none)] = Field(
        None,
        description="Resident bytes from which a worker finishes its micro-batch and leaves, with exit code 75, so "
        "that its supervisor starts a new one. Default: no limit.",
    )
    fine_tuned_cache: Annotated[int, Ge(1)] = Field(
        4 * 2**30,
        description="Bytes of fine-tuned LoRAs that a worker keeps on its disk, in data_dir. Those that were not used "
        "for the longest time are deleted first, and each that was not used for a day.",
    )
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
