"""The settings of content credentials (docs/06-operations.md)."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_settings import BaseSettings

from core.settings.types import ENVIRONMENT, set_or_none


class ContentCredentialSettings(BaseSettings):
    """With which certificate workers sign images as C2PA describes it."""

    model_config = ENVIRONMENT

    c2pa_certificates: Annotated[Path | None, BeforeValidator(set_or_none)] = Field(
        None,
        description="PEM file with the certificate that signs content credentials (C2PA) into images, and the "
        "intermediate certificates after it. Needs the package `c2pa-python`. Default: images are not signed.",
    )
    c2pa_key: Annotated[Path | None, BeforeValidator(set_or_none)] = Field(
        None, description="PEM file with the private key of that certificate: EC, Ed25519 or RSA, without a password."
    )
    c2pa_timestamp_url: Annotated[str | None, BeforeValidator(set_or_none)] = Field(
        None,
        pattern=r"^https?://",
        description="URL of an RFC 3161 timestamp authority: each signature is then valid after the certificate has "
        "expired. It is called for each image.",
    )

    @model_validator(mode="after")
    def _check_pair(self) -> Self:
        if (self.c2pa_certificates is None) != (self.c2pa_key is None):
            raise ValueError("SAFELIGHT_C2PA_CERTIFICATES and SAFELIGHT_C2PA_KEY are set together or not at all")
        return self
