"""Content credentials: a signed record in the image file of how it was generated (C2PA 2.2, https://spec.c2pa.org).

The record is a claim that the image was generated (IPTC's digital source type), by which model and which version of
Safelight, and the receipt. It is signed with the operator's certificate. An image whose credentials cannot be written
is stored without them, and a warning of the job says so.
"""

import importlib.metadata
import io
import json
import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

from PIL import Image

from core.job_warnings import JobWarning
from core.settings import Settings
from worker.generation.encode import SOURCE_TYPE

if TYPE_CHECKING:
    import c2pa

log = logging.getLogger(__name__)

COMPOSITE_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""Of an edit or a variation: a part of the image came from an input image."""

RECEIPT_LABEL = "org.safelight.receipt"

PRIVATE_VALUES = ("worker",)
"""Values of a receipt that describe the operator's machines. They stay out of the file."""

ALGORITHMS = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
"""By the curve of an EC key (RFC 9053 §2.1)."""


class ContentCredentialsError(Exception):
    """Credentials cannot be signed as the settings say. The message is for the operator."""


class ContentCredentials:
    """Signs images, one after the other."""

    def __init__(self, signer: "c2pa.Signer", context: "c2pa.Context", *, has_receipt: bool) -> None:
        self._signer = signer
        self._context = context
        self._has_receipt = has_receipt
        self._lock = threading.Lock()

    @classmethod
    def open(cls, settings: Settings) -> Self | None:
        """The signer of the settings, or None if images are not signed.

        Signs a first image, as only that shows whether the certificate may sign. Raises ContentCredentialsError.
        """
        if settings.c2pa_certificates is None or settings.c2pa_key is None:
            return None
        try:
            import c2pa
        except ImportError as error:
            raise ContentCredentialsError(
                "SAFELIGHT_C2PA_CERTIFICATES needs a package: pip install 'safelight[c2pa]'"
            ) from error
        certificates = _read(settings.c2pa_certificates, "SAFELIGHT_C2PA_CERTIFICATES")
        key = _read(settings.c2pa_key, "SAFELIGHT_C2PA_KEY")
        try:
            signer_info = c2pa.C2paSignerInfo(_algorithm(key), certificates, key, settings.c2pa_timestamp_url)
            # A thumbnail would take ten times the time of the signature, and 30 kB of each file.
            options = {"builder": {"thumbnail": {"enabled": False}}, "verify": {"verify_after_sign": False}}
            signer = c2pa.Signer.from_info(signer_info)
            credentials = cls(signer, c2pa.Context.from_dict(options), has_receipt=settings.embed_metadata)
            credentials._sign(_first_image(), "image/png", "generation", "safelight", {})
        except c2pa.C2paError as error:
            raise ContentCredentialsError(
                f"The certificate of SAFELIGHT_C2PA_CERTIFICATES cannot sign with SAFELIGHT_C2PA_KEY: {error}"
            ) from error
        return credentials

    def sign(
        self, data: bytes, media_type: str, operation: str, model: str, index: int, receipt: Mapping[str, object]
    ) -> tuple[bytes, tuple[JobWarning, ...]]:
        """The file with credentials; or as it is, with a warning, if it cannot be signed."""
        try:
            return self._sign(data, media_type, operation, model, receipt), ()
        except Exception as error:  # whatever it was, the image without credentials is better than none
            log.warning("image %d cannot be signed", index, exc_info=True)
            reason = f"{type(error).__name__}: {error}"
            message = f"Image {index} is stored without content credentials, because signing it failed: {reason}"
            return data, (JobWarning(code="content_credentials_omitted", message=message, param=None),)

    def _sign(self, data: bytes, media_type: str, operation: str, model: str, receipt: Mapping[str, object]) -> bytes:
        import c2pa

        output = io.BytesIO()
        record = _manifest(operation, model, receipt if self._has_receipt else {})
        with self._lock, c2pa.Builder.from_json(json.dumps(record), self._context) as builder:
            builder.sign(self._signer, media_type, io.BytesIO(data), output)
        return output.getvalue()


def _read(file: Path, setting: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ContentCredentialsError(f"{setting}: {file} cannot be read: {error.strerror}") from error


def _algorithm(key: bytes) -> str:
    """The algorithm of a private key's signatures, by C2PA's names. Raises ContentCredentialsError."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        private_key = load_pem_private_key(key, None)
    except (TypeError, ValueError) as error:
        raise ContentCredentialsError(
            "SAFELIGHT_C2PA_KEY has no private key in PEM that can be read without a password"
        ) from error
    match private_key:
        case ec.EllipticCurvePrivateKey() if private_key.curve.name in ALGORITHMS:
            return ALGORITHMS[private_key.curve.name]
        case ed25519.Ed25519PrivateKey():
            return "ed25519"
        case rsa.RSAPrivateKey():
            return "ps256"
    raise ContentCredentialsError("SAFELIGHT_C2PA_KEY: the key must be EC (P-256, P-384, P-521), Ed25519 or RSA")


def _first_image() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    return buffer.getvalue()


def _manifest(operation: str, model: str, receipt: Mapping[str, object]) -> dict[str, object]:
    """What is signed: C2PA's manifest definition, as `c2pa-python` reads it."""
    version = importlib.metadata.version("safelight")
    action = {
        "action": "c2pa.created",
        "digitalSourceType": SOURCE_TYPE if operation == "generation" else COMPOSITE_SOURCE_TYPE,
        "softwareAgent": {"name": model, "operation": operation},
    }
    assertions: list[dict[str, object]] = [{"label": "c2pa.actions", "data": {"actions": [action]}}]
    if public := {name: value for name, value in receipt.items() if name not in PRIVATE_VALUES}:
        assertions.append({"label": RECEIPT_LABEL, "data": public})
    return {"claim_generator_info": [{"name": "Safelight", "version": version}], "assertions": assertions}
