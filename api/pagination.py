"""The `after` parameter of lists: the id of the last row of the previous page.

A malformed id is a 400. The row of a well-formed id may be deleted: ids sort by time, so a client can delete the rows
of a page before it requests the next page.
"""

from typing import Annotated

from fastapi import Query
from pydantic.fields import FieldInfo

from core.ids import id_pattern


def _after(pattern: str) -> FieldInfo:
    parameter: FieldInfo = Query(description="The `last_id` of the previous page.", pattern=pattern)
    return parameter


AfterJob = Annotated[str | None, _after(id_pattern("job"))]
AfterFile = Annotated[str | None, _after(id_pattern("file", "-"))]
AfterBatch = Annotated[str | None, _after(id_pattern("batch"))]
AfterEndpoint = Annotated[str | None, _after(id_pattern("we"))]
AfterDelivery = Annotated[str | None, _after("^whd_[0-9a-f]{32}$")]
