"""`/v1/organization`: usage, costs and limits, in OpenAI's shapes. A key with the scope `admin` sees all projects."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from api.authentication import CurrentCaller, requires
from api.deps import AppContext
from api.responses import ERROR, answer
from core import limits
from core.errors import InvalidParameter, UnknownParameter
from core.reports import usage
from core.responses.usage import (
    CostsResult,
    ImagesResult,
    LimitList,
    Page,
    ResultT,
    as_csv,
    buckets,
    costs_result,
    images_result,
    limit_list,
)
from core.rows.usage import UsageBucket
from core.running_limits import count_running
from core.scopes import Scope

router = APIRouter(prefix="/v1/organization", tags=["usage"])

WIDTHS = {"1m": timedelta(minutes=1), "1h": timedelta(hours=1), "1d": timedelta(days=1)}
PAGE_BUCKETS = {"1m": (60, 1440), "1h": (24, 168), "1d": (7, 180)}
"""Buckets of a page for each width: the default and the maximum."""

MAX_ROWS = 20_000
DIMENSION_OF = {"project_id": "project_id", "api_key_id": "api_key_id", "model": "model", "size": "size",
                "source": "operation", "line_item": "model"}  # fmt: skip
PARAMETERS = frozenset(
    {"start_time", "end_time", "bucket_width", "group_by", "project_ids", "api_key_ids", "models", "limit", "page",
     "format"}
)  # fmt: skip
LISTS = frozenset({"group_by", "project_ids", "api_key_ids", "models"})
CSV: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/csv": {}}, "description": "A page of buckets, or with `format=csv` a CSV file."},
    400: ERROR,
}

Seconds = Annotated[int, Ge(0), Le(32_503_680_000)]
Ids = Annotated[list[str] | None, Query()]


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """What the routes have in common."""

    start: datetime
    end: datetime
    width: timedelta
    group_by: Sequence[str]
    project_ids: Sequence[str]
    api_key_ids: Sequence[str]
    models: Sequence[str]
    next_page: str | None
    is_csv: bool


async def usage_query(
    request: Request,
    caller: CurrentCaller,
    start_time: Annotated[Seconds, Query(description="Start, in Unix seconds; rounded down to a bucket.")],
    end_time: Annotated[Seconds | None, Query(description="End, in Unix seconds. Default: now.")] = None,
    bucket_width: Annotated[Literal["1m", "1h", "1d"], Query(description="Width of a bucket, in UTC.")] = "1d",
    group_by: Annotated[
        list[Literal["project_id", "api_key_id", "model", "size", "source", "line_item"]] | None, Query()
    ] = None,
    project_ids: Ids = None,
    api_key_ids: Ids = None,
    models: Ids = None,
    limit: Annotated[int | None, Ge(1), Le(1440), Query(description="Buckets of a page.")] = None,
    page: Annotated[str | None, Query(pattern=r"^page_\d{1,11}$", description="`next_page` of a page.")] = None,
    format: Annotated[Literal["json", "csv"], Query(description="`Accept: text/csv` has the same effect.")] = "json",
) -> UsageQuery:
    """Read the parameters. Raises UnknownParameter, InvalidParameter."""
    lists = {name: list(value or ()) for name, value in zip(
        ("group_by", "project_ids", "api_key_ids", "models"), (group_by, project_ids, api_key_ids, models), strict=True
    )}  # fmt: skip
    for name, value in request.query_params.multi_items():
        if name.endswith("[]") and name[:-2] in LISTS:  # as OpenAI's SDKs write lists
            lists[name[:-2]].append(value)
        elif name not in PARAMETERS:
            raise UnknownParameter(
                f"{name} is not a parameter here. Known are: {', '.join(sorted(PARAMETERS))}.", param=name
            )
    for value in lists["group_by"]:
        if value not in DIMENSION_OF:
            raise InvalidParameter(f"group_by must be one of {', '.join(DIMENSION_OF)}.", param="group_by")
    if Scope.ADMIN not in caller.scopes:
        lists["project_ids"] = [caller.project_id]
    width = WIDTHS[bucket_width]
    seconds, (default, maximum) = int(width.total_seconds()), PAGE_BUCKETS[bucket_width]
    start = (start_time if page is None else int(page.removeprefix("page_"))) // seconds * seconds
    end = int(datetime.now(UTC).timestamp()) + 1 if end_time is None else end_time
    if end <= start_time:
        raise InvalidParameter("end_time must be after start_time, and start_time in the past.", param="end_time")
    page_end = start + min(limit or default, maximum) * seconds
    return UsageQuery(
        datetime.fromtimestamp(start, UTC),
        datetime.fromtimestamp(min(page_end, max(end, start)), UTC),
        width,
        lists["group_by"],
        lists["project_ids"],
        lists["api_key_ids"],
        lists["models"],
        f"page_{page_end}" if page_end < end else None,
        format == "csv" or "text/csv" in request.headers.get("accept", ""),
    )


Parameters = Annotated[UsageQuery, Depends(usage_query)]


async def _rows(context: AppContext, query: UsageQuery) -> Sequence[UsageBucket]:
    names = {DIMENSION_OF[name] for name in query.group_by}
    statement = usage.list_usage(
        query.start,
        query.end,
        query.width,
        group_by=[name for name in usage.DIMENSIONS if name in names],
        project_ids=query.project_ids,
        api_key_ids=query.api_key_ids,
        models=query.models,
        limit=MAX_ROWS + 1,
    )
    rows = await context.database.execute(statement)
    if len(rows) > MAX_ROWS:
        raise InvalidParameter(f"A page has at most {MAX_ROWS} results: use a smaller limit.", param="limit")
    return rows


async def _respond(context: AppContext, query: UsageQuery, result: Callable[[UsageBucket], ResultT]) -> Response:
    """A page of usage or costs. result: converts a row."""
    rows = await _rows(context, query)
    if query.is_csv:
        headers = {} if query.next_page is None else {"x-next-page": query.next_page}
        return Response(as_csv(rows), media_type="text/csv", headers=headers)
    data = list(buckets(rows, query.start, query.end, query.width, result))
    return answer(Page(data=data, has_more=query.next_page is not None, next_page=query.next_page))


@router.get("/usage/images", summary="Get the usage of images", response_model=Page[ImagesResult], responses=CSV)
@requires(Scope.READ)
async def images(context: AppContext, query: Parameters) -> Response:
    """Get images, jobs and device time by minute, hour or day. A key without `admin` sees its own project."""
    return await _respond(context, query, images_result)


@router.get("/costs", summary="Get the costs of providers", response_model=Page[CostsResult], responses=CSV)
@requires(Scope.READ)
async def costs(context: AppContext, query: Parameters) -> Response:
    """Get what providers charged, by minute, hour or day. A key without `admin` sees its own project."""
    return await _respond(context, query, costs_result)


@router.get("/limits", summary="Get your limits", response_model=LimitList)
@requires(Scope.READ)
async def own_limits(context: AppContext, caller: CurrentCaller) -> Response:
    """Get the limits of your project and API key, and what they use."""
    subjects = await context.limits.subjects(caller.project_id, caller.key_id)
    uses = await context.database.execute(limits.get_use([subject.id for subject in subjects])) if subjects else []
    running: dict[str, int] = {}
    for subject in subjects:
        if subject.limits.running_jobs is not None:
            statement = count_running(subject.project_id, subject.id if subject.is_key else None)
            (running[subject.id],) = await context.database.execute(statement)
    return answer(limit_list(subjects, uses, running))
