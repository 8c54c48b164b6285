"""`/v1/images/{id}`: the metadata and the bytes of an image."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import RedirectResponse, Response, StreamingResponse

from api import thumbnails
from api.authentication import Project, authenticate, requires
from api.deps import AppContext
from api.responses import ERROR, answer
from core import queries
from core.errors import NotFound, Unauthorized
from core.responses.job import ImageObject, image_object_of_row
from core.rows import ImageRow
from core.scopes import Scope
from core.text import quote

router = APIRouter(prefix="/v1/images", tags=["images"])
links = APIRouter(prefix="/v1/images", tags=["images"])
"""Routes that a signed link opens without an API key."""

NO_IMAGE: dict[int | str, dict[str, Any]] = {404: ERROR | {"description": "Your project has no such image."}}

# If an attacker manages to store something else than an image, browsers still must not sniff or run it.
SAFE_HEADERS = {"x-content-type-options": "nosniff", "content-security-policy": "sandbox; default-src 'none'"}


@router.get("/{image_id}", summary="Get an image's metadata", response_model=ImageObject, responses=NO_IMAGE)
@requires(Scope.READ)
async def fetch(image_id: str, context: AppContext, project_id: Project) -> Response:
    """Get the metadata of an image: size, seed, checksum, how it was generated, and a link."""
    rows = await context.database.execute(queries.get_image(project_id, image_id))
    return answer(image_object_of_row(_first(rows, image_id), context.storage.url))


@links.get(
    "/{image_id}/content",
    summary="Download an image",
    response_class=Response,
    responses=NO_IMAGE
    | {
        200: {"description": "The image.", "content": {"image/png": {}, "image/webp": {}, "image/jpeg": {}}},
        302: {"description": "Redirect to a presigned URL of the object store."},
        304: {"description": "Unchanged."},
        401: ERROR | {"description": "The link has expired or its signature is not valid."},
    },
    openapi_extra={"security": [{"key": []}, {}]},
)
@requires(Scope.READ)
async def content(
    image_id: str,
    request: Request,
    context: AppContext,
    expires: Annotated[int | None, Query(description="Expiry of a signed link, in Unix seconds.")] = None,
    signature: Annotated[str | None, Query(description="Signature of a signed link.")] = None,
    width: Annotated[
        thumbnails.Width | None,
        Query(description="A smaller version of this width in pixels, as WebP. A narrower image stays as it is."),
    ] = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Download the bytes of an image, with an API key or a signed link."""
    if signature is None:
        rows = await context.database.execute(queries.get_image((await authenticate(request)).project_id, image_id))
    else:
        if not context.storage.is_signed(image_id, expires or 0, signature):
            raise Unauthorized("This image link has expired or is not valid; fetch the job again for a new link.")
        rows = await context.database.execute(queries.get_image_by_id(image_id))
    image = _first(rows, image_id)
    headers = SAFE_HEADERS | {"etag": f'"{image.sha256}"', "cache-control": "private, max-age=31536000, immutable"}
    if width is not None:
        headers["etag"] = f'"{image.sha256}-{width}"'
        if if_none_match == headers["etag"]:
            return Response(status_code=304, headers=headers)
        if (smaller := await thumbnails.thumbnail(context, image, width)) is not None:
            return Response(smaller, media_type=thumbnails.MEDIA_TYPE, headers=headers)
    if context.storage.presigns:
        return RedirectResponse(context.storage.url(image_id, image.storage_key), status_code=302)
    if if_none_match == headers["etag"]:
        return Response(status_code=304, headers=headers)
    headers["content-length"] = str(image.bytes)
    name = image.storage_key.rpartition("/")[2]
    headers["content-disposition"] = f'inline; filename="{image_id}.{name.rpartition(".")[2]}"'
    return StreamingResponse(
        await context.storage.stream_async(image.storage_key), media_type=image.media_type, headers=headers
    )


def _first(rows: Sequence[ImageRow], image_id: str) -> ImageRow:
    if not rows:
        raise NotFound(f"There is no image {quote(image_id)}.", param="id")
    return rows[0]
