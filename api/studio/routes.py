"""The page at `/`, its files, and `/studio/session`: signing in with an API key, and signing out."""

import html
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict

from api.authentication import KEYLESS_CALLER
from api.callers import Caller
from api.context import Context
from api.deps import AppContext, body_up_to
from api.responses import answer
from api.studio import session
from api.studio.assets import Assets
from api.studio.attempts import Attempts
from core import keys
from core.errors import CrossSite, NotFound, Unauthorized
from core.requests.job import parse

router = APIRouter(include_in_schema=False)

MAX_SIGN_IN_BYTES = 4096

FOREVER = "public, max-age=31536000, immutable"
PAGE_HEADERS = {
    "cache-control": "no-cache",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}

assets = Assets()
attempts = Attempts()


class SignIn(BaseModel):
    """The body of signing in."""

    model_config = ConfigDict(extra="forbid", strict=True)

    key: str


class SessionObject(BaseModel):
    """Who uses the studio. needs_key: whether requests need a key; project_id: null before signing in."""

    needs_key: bool
    project_id: str | None = None
    key_id: str | None = None
    scopes: list[str] = []


@router.get("/")
async def page(request: Request, context: AppContext) -> Response:
    """The page. Its links are relative, unless the path is known: a proxy may serve it under a path silently."""
    prefix: str = request.scope["prefix"]
    base = f"{prefix}/" if prefix else ""
    content = assets.page.replace("{files}", html.escape(f"{base}studio/{assets.version}"))
    headers = PAGE_HEADERS | {
        "content-security-policy": _security_policy(context),
        "etag": f'"{assets.version}-{len(base)}"',
    }
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type="text/html; charset=utf-8", headers=headers)


@router.get("/studio/session")
async def show(request: Request, context: AppContext) -> Response:
    """Who uses the studio."""
    if not request.scope["needs_key"]:
        return answer(_session_of(KEYLESS_CALLER, needs_key=False))
    key_hash = session.session_key_hash(request, context.settings)
    if key_hash is None:
        return answer(SessionObject(needs_key=True))
    try:
        entry = await context.callers.identify_hash(key_hash)
    except Unauthorized:
        return answer(SessionObject(needs_key=True))
    return answer(_session_of(entry.caller, needs_key=True))


async def sign_in_body(request: Request) -> bytes:
    """The body of signing in. Raises CrossSite for a page of another site, TooManyAttempts."""
    if not session.is_own_page(request):
        raise CrossSite("Only the studio's own page can sign in.")
    attempts.check(_address(request))
    return await body_up_to(request, MAX_SIGN_IN_BYTES)


@router.post("/studio/session")
async def sign_in(request: Request, context: AppContext, body: Annotated[bytes, Depends(sign_in_body)]) -> Response:
    """Sign in: set a cookie that stands for an API key. Raises Unauthorized."""
    key = parse(SignIn, body).key.strip()
    try:
        entry = await context.callers.identify(key)
    except Unauthorized:
        attempts.count(_address(request))
        context.refused_keys.count(f"Bearer {key}")
        raise Unauthorized("This API key is not valid: it is mistyped, was revoked, or has expired.") from None
    response = answer(_session_of(entry.caller, needs_key=request.scope["needs_key"]))
    _set_cookie(request, response, session.create(context.settings, keys.hash_key(key)))
    return response


@router.delete("/studio/session")
async def sign_out(request: Request) -> Response:
    """Sign out: delete the cookie."""
    if not session.is_own_page(request):
        raise CrossSite("Only the studio's own page can sign out.")
    response = Response(status_code=204)
    _set_cookie(request, response, "", max_age=0)
    return response


@router.get("/studio/{version}/{path:path}")
async def file(request: Request, version: str, path: str) -> Response:
    """A file of the studio. Another version is not here: its page must be loaded again."""
    asset = assets.files.get(path)
    if asset is None or version != assets.version:
        raise NotFound("There is no such file of the studio; load the page again.")
    headers = {"cache-control": FOREVER, "vary": "accept-encoding", "x-content-type-options": "nosniff"}
    content = asset.content
    if "gzip" in request.headers.get("accept-encoding", ""):
        content = asset.gzip
        headers["content-encoding"] = "gzip"
    return Response(content, media_type=asset.media_type, headers=headers)


def _session_of(caller: Caller, *, needs_key: bool) -> SessionObject:
    return SessionObject(
        needs_key=needs_key,
        project_id=caller.project_id,
        key_id=caller.key_id,
        scopes=sorted(caller.scopes),
    )


def _set_cookie(
    request: Request, response: Response, value: str, max_age: int = int(session.LIFETIME.total_seconds())
) -> None:
    response.headers["cache-control"] = "no-store"
    response.set_cookie(
        session.COOKIE,
        value,
        max_age=max_age,
        path=request.scope["prefix"] or "/",
        secure=urlsplit(request.scope["base_url"]).scheme == "https",
        httponly=True,
        samesite="strict",
    )


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _security_policy(context: Context) -> str:
    """What the page may load: only its own files and images, and those that the object store serves itself."""
    images = ["'self'", "data:", "blob:"]
    if context.storage.presigns:
        store = urlsplit(context.storage.url("img_", "jobs/"))
        images.append(f"{store.scheme}://{store.netloc}")
    return (
        f"default-src 'self'; img-src {' '.join(images)}; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    )
