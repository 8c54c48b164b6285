"""The commands' types of the API's JSON agree with the OpenAPI document."""

from types import NoneType
from typing import get_args, get_type_hints

import pytest

from api.app import create_app
from cli import client
from cli.batch import client as batch_client
from core.settings import Settings

SCHEMAS = create_app(Settings()).openapi()["components"]["schemas"]

TYPES = {
    client.Image: "ImageObject",
    client.JobError: "JobError",
    client.JobWarning: "JobWarning",
    client.Job: "JobObject",
    batch_client.LineJob: "JobObject",
    batch_client.RequestCounts: "RequestCounts",
    batch_client.LineError: "BatchError",
    batch_client.LineErrors: "BatchErrors",
    batch_client.BatchProgress: "BatchProgress",
    batch_client.Batch: "BatchObject",
    batch_client.Estimate: "BatchEstimate",
}

SET_ON_LINES = {"batch_index", "custom_id"}
"""Fields that are null for a single job, but not for a line of a batch."""


@pytest.mark.parametrize("type_", TYPES, ids=lambda type_: type_.__name__)
def test_the_api_sends_the_fields_that_the_commands_read(type_: type) -> None:
    properties = SCHEMAS[TYPES[type_]]["properties"]
    hints = get_type_hints(type_)

    assert hints.keys() <= properties.keys()
    nullable = {name for name in hints if {"type": "null"} in properties[name].get("anyOf", [])}
    assert nullable - SET_ON_LINES <= {name for name, hint in hints.items() if NoneType in get_args(hint)}
