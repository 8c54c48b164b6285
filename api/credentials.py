"""The API key of a request: a Bearer token or, for AUTOMATIC1111's clients, the password of HTTP Basic.

No response asks for Basic (`WWW-Authenticate`): a browser would ask its user for the key, and then send it with every
request, also with those that another site's page makes.
"""

import base64
import binascii

from core import keys


def api_key(authorization: str) -> str:
    """The API key in an `Authorization` header, whether it is valid or not; empty without one."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "basic":
        value = _password(value)
    elif scheme.lower() != "bearer":
        return ""
    return value if value.startswith(keys.PREFIX) else ""


def is_basic(authorization: str) -> bool:
    """Whether an `Authorization` header is HTTP Basic."""
    return authorization[:6].lower() == "basic "


def _password(value: str) -> str:
    try:
        return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""
