"""The settings of webhooks."""

from datetime import timedelta
from typing import Annotated

from annotated_types import Ge, Le
from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings

from core.settings.types import ENVIRONMENT, Duration, set_or_none


class WebhookSettings(BaseSettings):
    """The settings of webhooks."""

    model_config = ENVIRONMENT

    egress_allow: Annotated[str | None, BeforeValidator(set_or_none)] = Field(
        None,
        description="Webhook destinations that are allowed although they are not on the public Internet: host names, "
        "addresses and CIDRs, separated by commas (`hooks.internal, 10.1.0.0/16`).",
    )
    egress_ports: Annotated[str, Field(pattern=r"^\d{1,5}(, *\d{1,5})*$")] = Field(
        "80, 443",
        description="Ports allowed for public webhook destinations, separated by commas. "
        "Destinations in `egress_allow` may also use any port above 1023.",
    )
    max_webhook_endpoints: Annotated[int, Ge(0)] = Field(
        100, description="Maximum number of webhook endpoints per project. Each one makes every event more expensive."
    )
    max_webhook_endpoints_per_host: Annotated[int, Ge(1)] = Field(
        10,
        description="Maximum number of webhook endpoints of a project on one host: they all get each event. "
        "Endpoints that exist already stay.",
    )
    webhook_timeout: Duration = Field(timedelta(seconds=15), description="Maximum time of a webhook delivery.")
    webhook_schedule: Annotated[str, Field(pattern=r"^\d+(\.\d+)?(, *\d+(\.\d+)?)*$")] = Field(
        "5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400",
        description="Delays in seconds between failed attempts of a delivery. The first attempt is immediate.",
    )
    webhook_poll: Duration = Field(
        timedelta(seconds=1),
        description="Longest interval at which the deliverer looks for due deliveries. Redis notifies it of new ones; "
        "while Redis does not answer, the interval is 0.2 s at most.",
    )
    webhook_concurrency: Annotated[int, Ge(2), Le(1000)] = Field(
        64,
        description="Maximum number of concurrent deliveries per process. "
        "Half of them are reserved for destinations that respond within a second.",
    )
    webhook_destination_concurrency: Annotated[int, Ge(1)] = Field(
        2,
        description="Maximum number of concurrent deliveries to a destination that responds within a second. "
        "A slower destination gets 1.",
    )
    webhook_quick_concurrency: Annotated[int, Ge(1)] = Field(
        16,
        description="Maximum number of concurrent deliveries to a destination that responds within 0.1 seconds. "
        "Those beyond `webhook_destination_concurrency` share a quarter of `webhook_concurrency`.",
    )
