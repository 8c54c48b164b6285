"""The limits of projects that have none of their own. The names are those of the table `limits`, with a prefix."""

from typing import Annotated

from annotated_types import Ge
from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings

from core.settings.types import ENVIRONMENT, set_or_none


class LimitSettings(BaseSettings):
    """The limits of projects that have none of their own."""

    model_config = ENVIRONMENT

    limit_requests_per_minute: Annotated[Annotated[int, Ge(1)] | None, BeforeValidator(set_or_none)] = Field(
        None, description="Maximum number of submitting requests per minute and project. Default: no limit."
    )
    limit_jobs: Annotated[Annotated[int, Ge(0)] | None, BeforeValidator(set_or_none)] = Field(
        None, description="Maximum number of queued and running jobs per project. Default: no limit."
    )
    limit_stored_bytes: Annotated[Annotated[int, Ge(0)] | None, BeforeValidator(set_or_none)] = Field(
        None, description="Maximum size of the images, files and fine-tuned models of a project. Default: no limit."
    )
    limit_device_seconds_per_day: Annotated[Annotated[float, Ge(0)] | None, BeforeValidator(set_or_none)] = Field(
        None, description="Maximum device time per project and day (UTC), in seconds. Default: no limit."
    )
    limit_provider_usd_per_month: Annotated[Annotated[float, Ge(0)] | None, BeforeValidator(set_or_none)] = Field(
        None,
        description="Maximum cost of providers per project and month (UTC), in US dollars. Default: no limit.",
    )
    limit_running_jobs: Annotated[Annotated[int, Ge(1)] | None, BeforeValidator(set_or_none)] = Field(
        None, description="Maximum number of running jobs per project; others wait. Default: no limit."
    )
    limit_images_per_minute: Annotated[Annotated[int, Ge(1)] | None, BeforeValidator(set_or_none)] = Field(
        None, description="Maximum number of images that a project submits per minute. Default: no limit."
    )
