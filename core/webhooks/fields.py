"""Types of fields that name the events which a webhook subscribes to."""

from typing import Annotated

from pydantic import AfterValidator, Field

from core.event_types import event_names

_JOB = event_names("job", for_webhooks=True)
_BATCH = event_names("batch", for_webhooks=True)
_EVENT_NAMES = event_names(for_webhooks=True)


def _one_of(names: list[str]) -> AfterValidator:
    def validate(name: str) -> str:
        if name not in names:
            raise ValueError(f"must be one of {', '.join(names)}")
        return name

    return AfterValidator(validate)


JobEventName = Annotated[str, _one_of(_JOB), Field(json_schema_extra={"enum": [*_JOB]})]
BatchEventName = Annotated[str, _one_of(_BATCH), Field(json_schema_extra={"enum": [*_BATCH]})]
EventName = Annotated[str, _one_of(_EVENT_NAMES), Field(json_schema_extra={"enum": [*_EVENT_NAMES]})]
