"""Usage, costs and limits."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal

from safelight_client.asynchronous.transport import AsyncTransport
from safelight_client.models import (
    BucketCostsResult,
    BucketImagesResult,
    LimitList,
    LimitObject,
    PageCostsResult,
    PageImagesResult,
)

Width = Literal["1m", "1h", "1d"]


class AsyncUsage:
    """The API's calls for usage, costs and limits."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def images(
        self,
        *,
        start_time: int,
        end_time: int | None = None,
        bucket_width: Width = "1d",
        group_by: Sequence[str] = (),
        models: Sequence[str] = (),
    ) -> AsyncIterator[BucketImagesResult]:
        """Images, bytes and device time by time, bucket by bucket. Times in Unix seconds.

        group_by: such as `model` or `project_id`. models: only these.
        """
        query = {
            "start_time": start_time,
            "end_time": end_time,
            "bucket_width": bucket_width,
            "group_by": [*group_by],
            "models": [*models],
        }
        async for page in self._pages("/v1/organization/usage/images", query):
            for bucket in self._transport.parse(PageImagesResult, page).data:
                yield bucket

    async def costs(
        self,
        *,
        start_time: int,
        end_time: int | None = None,
        bucket_width: Width = "1d",
        group_by: Sequence[str] = (),
    ) -> AsyncIterator[BucketCostsResult]:
        """Costs at providers by time, bucket by bucket. Times in Unix seconds. group_by: such as `line_item`."""
        query = {
            "start_time": start_time,
            "end_time": end_time,
            "bucket_width": bucket_width,
            "group_by": [*group_by],
        }
        async for page in self._pages("/v1/organization/costs", query):
            for bucket in self._transport.parse(PageCostsResult, page).data:
                yield bucket

    async def limits(self) -> Sequence[LimitObject]:
        """The limits of your project and your key, and what they use."""
        return (await self._transport.fetch(LimitList, "GET", "/v1/organization/limits")).data

    async def _pages(self, path: str, query: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        query = {name: value for name, value in query.items() if value is not None}
        while True:
            page = await self._transport.request("GET", path, params=query)
            yield page
            if not page["has_more"]:
                return
            query["page"] = page["next_page"]
