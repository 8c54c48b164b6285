"""Signatures of deliveries: Standard Webhooks 1.0.0, HMAC-SHA256 of `id.timestamp.body` under the secret's bytes.

While a secret is being replaced, both sign.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime

SECRET_PREFIX = "whsec_"  # noqa: S105 - what secrets begin with
HINT_LENGTH = 4
"""Characters of a secret that are shown after its creation."""


def new_secret() -> str:
    """Generate a secret: 32 random bytes in base64."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def hint(secret: str) -> str:
    """The end of a secret, by which its owner can identify it."""
    return f"{SECRET_PREFIX}...{secret[-HINT_LENGTH:]}"


def is_secret(text: str) -> bool:
    """Whether a secret has the form that verifying libraries read, with 24 to 64 bytes."""
    try:
        return text.startswith(SECRET_PREFIX) and 24 <= len(key_of(text)) <= 64
    except ValueError:
        return False


def key_of(secret: str) -> bytes:
    """The bytes that sign."""
    return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)


def signed(keys: Sequence[str], event_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of a delivery, with a signature by each secret. timestamp: Unix seconds, of this attempt."""
    headers = {"webhook-id": event_id, "webhook-timestamp": str(timestamp)}
    if keys:
        content = f"{event_id}.{timestamp}.".encode() + body
        signatures = (hmac.new(key_of(key), content, hashlib.sha256).digest() for key in keys)
        headers["webhook-signature"] = " ".join(
            f"v1,{base64.b64encode(fingerprint).decode()}" for fingerprint in signatures
        )
    return headers


def verifies(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether a delivery is signed by a secret. headers: by lower-case names."""
    event_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isascii() or not timestamp.isdigit():
        return False
    signature = signed([secret], event_id, int(timestamp), body)["webhook-signature"]
    return any(
        hmac.compare_digest(signature.encode(), fingerprint.encode())
        for fingerprint in headers.get("webhook-signature", "").split()
    )


def live_secrets(secret: str | None, previous: str | None, until: datetime | None, now: datetime) -> list[str]:
    """The secrets that sign now, the newest first."""
    current = [secret] if secret else []
    return [*current, previous] if previous and until and until > now else current
