"""Verifies webhooks by Standard Webhooks 1.0.0 and parses their events."""

import base64
import os
from collections.abc import Mapping

from pydantic import ValidationError
from standardwebhooks import Webhook, WebhookVerificationError

from safelight_client.errors import ConfigurationError, SignatureInvalid
from safelight_client.models import Event

SECRET_PREFIX = "whsec_"  # noqa: S105 - what secrets begin with


def unwrap(body: bytes | str, headers: Mapping[str, str], secret: str | None = None) -> Event:
    """Verify a webhook and return its event.

    body: exactly as it was received. secret: of the endpoint; default: SAFELIGHT_WEBHOOK_SECRET. Raises
    SignatureInvalid, and ConfigurationError if there is no secret.
    """
    verify(body, headers, secret)
    try:
        return Event.model_validate_json(body)
    except ValidationError as error:
        raise SignatureInvalid(f"The webhook is signed, but has no event: {error.errors()[0]['msg']}.") from None


def verify(body: bytes | str, headers: Mapping[str, str], secret: str | None = None) -> None:
    """Verify the signature and the timestamp of a webhook. Raises SignatureInvalid, ConfigurationError."""
    secret = secret or os.environ.get("SAFELIGHT_WEBHOOK_SECRET")
    if not secret:
        raise ConfigurationError("There is no secret: pass secret=, or set SAFELIGHT_WEBHOOK_SECRET.")
    try:
        Webhook(_check_secret(secret)).verify(body, dict(headers), json_parse=False)
    except WebhookVerificationError as error:
        raise SignatureInvalid(f"The webhook is not valid: {str(error).lower()}.") from None
    except ValueError:  # a signature without a version, or not in base64; a body that is not UTF-8
        raise SignatureInvalid("The webhook is not valid: its signature cannot be read.") from None


def _check_secret(secret: str) -> str:
    try:
        base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError:
        raise ConfigurationError(f"The secret of webhooks must be {SECRET_PREFIX} and base64.") from None
    return secret
