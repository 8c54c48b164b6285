# Made of asynchronous/usage.py by `python clients/generate.py`: do not edit.
"""Usage, costs and limits."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from safelight_client.models import (
    BucketCostsResult,
    BucketImagesResult,
    LimitList,
    LimitObject,
    PageCostsResult,
    PageImagesResult,
)
from safelight_client.synchronous.transport import Transport

Width = Literal["1m", "1h", "1d"]


class Usage:
    """The API's calls for usage, costs and limits."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def images(
        self,
        *,
        start_time: int,
        end_time: int | None = None,
        bucket_width: Width = "1d",
        group_by: Sequence[str] = (),
        models: Sequence[str] = (),
    ) -> Iterator[BucketImagesResult]:
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
        for page in self._pages("/v1/organization/usage/images", query):
            for bucket in self._transport.parse(PageImagesResult, page).data:
                yield bucket

    def costs(
        self,
        *,
        start_time: int,
        end_time: int | None = None,
        bucket_width: Width = "1d",
        group_by: Sequence[str] = (),
    ) -> Iterator[BucketCostsResult]:
        """Costs at providers by time, bucket by bucket. Times in Unix seconds. group_by: such as `line_item`."""
        query = {
            "start_time": start_time,
            "end_time": end_time,
            "bucket_width": bucket_width,
            "group_by": [*group_by],
        }
        for page in self._pages("/v1/organization/costs", query):
            for bucket in self._transport.parse(PageCostsResult, page).data:
                yield bucket

    def limits(self) -> Sequence[LimitObject]:
        """The limits of your project and your key, and what they use."""
        return (self._transport.fetch(LimitList, "GET", "/v1/organization/limits")).data

    def _pages(self, path: str, query: dict[str, Any]) -> Iterator[dict[str, Any]]:
        query = {name: value for name, value in query.items() if value is not None}
        while True:
            page = self._transport.request("GET", path, params=query)
            yield page
            if not page["has_more"]:
                return
            query["page"] = page["next_page"]
