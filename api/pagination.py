"""The `after` parameter of lists: the id of the last row of the previous page.

A malformed id is a 400, and so is one of which the project has no row, as at OpenAI: it may be an error of the client,
of another project, or deleted since. A client that deletes what it lists requests the next page first.
"""

from typing import Annotated

from fastapi import Query
from pydantic.fields import FieldInfo

from api.context import Context
from core import queries
from core.errors import InvalidParameter
from core.ids import id_pattern
from core.text import quote


def _after(pattern: str) -> FieldInfo:
    parameter: FieldInfo = Query(description="The `last_id` of the previous page.", pattern=pattern)
    return parameter


async def check_after(
    context: Context, project_id: str, kind: str, after: str | None, batch_id: str | None = None
) -> None:
    """Check that the project has the row of `after`. Raises InvalidParameter.

    kind: one of `core.queries.ROW_TABLES`. batch_id: the batch whose jobs are listed.
    """
    if after is None or await context.database.execute(queries.find_row(kind, project_id, after, batch_id)):
        return
    place = "" if batch_id is None else f" in the batch {quote(batch_id)}"
    raise InvalidParameter(f"after: there is no {kind} {after!r}{place}; it may have been deleted.", param="after")


AfterJob = Annotated[str | None, _after(id_pattern("job"))]
AfterFile = Annotated[str | None, _after(id_pattern("file", "-"))]
AfterBatch = Annotated[str | None, _after(id_pattern("batch"))]
AfterKey = Annotated[str | None, _after(id_pattern("key"))]
AfterEndpoint = Annotated[str | None, _after(id_pattern("we"))]
AfterDelivery = Annotated[str | None, _after("^whd_[0-9a-f]{32}$")]
AfterFineTuningJob = Annotated[str | None, _after(id_pattern("ftjob", "-"))]
AfterFineTuningEvent = Annotated[str | None, _after(id_pattern("ftevent", "-"))]
AfterCheckpoint = Annotated[str | None, _after(id_pattern("ftckpt", "_"))]
