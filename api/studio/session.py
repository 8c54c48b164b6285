"""Sessions of the studio: a cookie stands for an API key, so that a page never stores the key.

The cookie has the hash of the key and a time, signed with SAFELIGHT_SECRET_KEY. The hash opens nothing without the
signature, and the key's row is checked at each request, as if the key itself were sent: a revoked key ends its
sessions.

A browser adds the cookie to every request, also to those that a page of another site causes. So it counts only in
requests that the studio's own pages send, or that a person typed.
"""

import base64
import binascii
import hashlib
import hmac
import time
from datetime import timedelta
from urllib.parse import urlsplit

from fastapi import Request
from starlette.datastructures import Headers

from core.settings import Settings

COOKIE = "safelight_session"
LIFETIME = timedelta(days=14)
"""Time from signing in until the key must be entered again."""

PREFIX = "/v1/"
"""Only these calls accept a session: the others have clients of their own."""

_HASH_BYTES = hashlib.sha256().digest_size
_TIME_BYTES = 8
_SAFE_METHODS = ("GET", "HEAD")


def create(settings: Settings, key_hash: bytes) -> str:
    """The value of the cookie for a key."""
    expires = int(time.time() + LIFETIME.total_seconds())
    payload = key_hash + expires.to_bytes(_TIME_BYTES)
    return base64.urlsafe_b64encode(payload + _signature(settings, payload)).decode()


def key_hash_of(settings: Settings, cookie: str) -> bytes | None:
    """The hash of the key that a cookie stands for; None if the cookie is not valid or has expired."""
    try:
        content = base64.b64decode(cookie, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    payload, signature = content[: _HASH_BYTES + _TIME_BYTES], content[_HASH_BYTES + _TIME_BYTES :]
    if not hmac.compare_digest(signature, _signature(settings, payload)):
        return None
    expires = int.from_bytes(payload[_HASH_BYTES:])
    return payload[:_HASH_BYTES] if expires > time.time() else None


def session_key_hash(request: Request, settings: Settings) -> bytes | None:
    """The hash of the key of a request's session; None without a valid cookie, or if a foreign page sent it."""
    cookie = request.cookies.get(COOKIE)
    if cookie is None or not is_own_page(request):
        return None
    return key_hash_of(settings, cookie)


def is_own_page(request: Request) -> bool:
    """Whether a page of this API sent a request. For a call that only reads, no sign of another page is enough.

    Browsers say which site a page is from: with `Sec-Fetch-Site`, and without TLS with `Origin` for what changes data.
    """
    headers, is_read = request.headers, request.method in _SAFE_METHODS
    origin = headers.get("origin")
    if origin is not None and not _is_same_origin(origin, headers, request):
        return False
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin" or (is_read and site == "none")
    return is_read or origin is not None


def _is_same_origin(origin: str, headers: Headers, request: Request) -> bool:
    names = {headers.get("host", ""), request.scope["forwarded_host"], urlsplit(request.scope["base_url"]).netloc}
    return origin.partition("://")[2] in names - {"", None}


def _signature(settings: Settings, payload: bytes) -> bytes:
    return hmac.digest(settings.signing_key, b"studio session " + payload, "sha256")
