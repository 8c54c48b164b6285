"""`/v1/images/{id}`: the metadata, the receipt and the bytes of an image."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import RedirectResponse, Response, StreamingResponse

from api import thumbnails
from api.authentication import Project, authenticate, requires
from api.context import Context
from api.deps import AppContext
from api.jobs.waiting import job_row
from api.responses import ERROR, answer
from core import queries
from core.errors import NotFound, Unauthorized
from core.responses.job import ImageObject, image_object_of_row
from core.responses.receipt import Receipt, receipt_of
from core.rows.job import ImageRow
from core.scopes import Scope
from core.text import quote

router = APIRouter(prefix="/v1/images", tags=["images"])
links = APIRouter(prefix="/v1/images", tags=["images"])
"""Routes that a signed link opens without an API key."""

Expires = Annotated[int | None, Query(description="Expiry of a signed link, in Unix seconds.")]
Signature = Annotated[str | None, Query(description="Signature of a signed link.")]

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
    "/{image_id}/receipt",
    summary="Get an image's receipt",
    response_model=Receipt,
    responses=NO_IMAGE | {401: ERROR | {"description": "The link has expired or its signature is not valid."}},
    openapi_extra={"security": [{"key": []}, {}]},
)
@requires(Scope.READ)
async def receipt(
    image_id: str,
    request: Request,
    context: AppContext,
    expires: Expires = None,
    signature: Signature = None,
) -> Response:
    """Get how an image was made, with an API key or with the `expires` and `signature` of its signed link."""
    image = await _image(request, context, image_id, expires, signature)
    job = await job_row(context, image.project_id, image.job_id)
    # Who has a link may read the prompts where the image itself shows them.
    has_texts = signature is None or context.settings.embed_metadata
    return answer(receipt_of(job, image, has_texts=has_texts))


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
    expires: Expires = None,
    signature: Signature = None,
    width: Annotated[
        thumbnails.Width | None,
        Query(description="A smaller version of this width in pixels, as WebP. A narrower image stays as it is."),
    ] = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Download the bytes of an image, with an API key or a signed link."""
    image = await _image(request, context, image_id, expires, signature)
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


async def _image(
    request: Request, context: Context, image_id: str, expires: int | None, signature: str | None
) -> ImageRow:
    """The image of a request with an API key or with a signed link. Raises Unauthorized or NotFound."""
    if signature is None:
        caller = await authenticate(request)
        return _first(await context.database.execute(queries.get_image(caller.project_id, image_id)), image_id)
    if not context.storage.is_signed(image_id, expires or 0, signature):
        raise Unauthorized("This image link has expired or is not valid; fetch the job again for a new link.")
    return _first(await context.database.execute(queries.get_image_by_id(image_id)), image_id)


def _first(rows: Sequence[ImageRow], image_id: str) -> ImageRow:
    if not rows:
        raise NotFound(f"There is no image {quote(image_id)}.", param="id")
    return rows[0]
