"""Content credentials: images are signed with the operator's certificate, and C2PA's own reader reads them."""

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import c2pa
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from core.settings import Settings
from tests.images import an_image, data_url
from tests.stack import Stack
from worker.generation.content_credentials import COMPOSITE_SOURCE_TYPE, ContentCredentials, ContentCredentialsError
from worker.generation.encode import SOURCE_TYPE

DAY = timedelta(days=1)
NO_USE = dict.fromkeys(
    ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"),
    False,
)


def write_certificate(
    directory: Path, *, purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.EMAIL_PROTECTION
) -> None:
    """Write chain.pem and key.pem: a certificate that a test authority made for one purpose."""
    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "A print shop"),
            x509.NameAttribute(NameOID.COMMON_NAME, "Shop signer"),
        ]
    )
    now = datetime.now(UTC)

    def certificate(
        name: x509.Name, public_key: ec.EllipticCurvePublicKey, *extensions: x509.ExtensionType
    ) -> x509.Certificate:
        builder = x509.CertificateBuilder(issuer, name, public_key, x509.random_serial_number(), now - DAY, now + DAY)
        own_key = x509.SubjectKeyIdentifier.from_public_key(public_key)
        for extension in (
            *extensions,
            own_key,
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()),
        ):
            is_critical = isinstance(extension, x509.BasicConstraints | x509.KeyUsage)
            builder = builder.add_extension(extension, is_critical)
        return builder.sign(authority, hashes.SHA256())

    root = certificate(
        issuer,
        authority.public_key(),
        x509.BasicConstraints(True, None),
        x509.KeyUsage(digital_signature=False, key_cert_sign=True, crl_sign=True, **NO_USE),
    )
    leaf = certificate(
        subject,
        key.public_key(),
        x509.BasicConstraints(False, None),
        x509.KeyUsage(digital_signature=True, key_cert_sign=False, crl_sign=False, **NO_USE),
        x509.ExtendedKeyUsage([purpose]),
    )
    (directory / "chain.pem").write_bytes(b"".join(item.public_bytes(Encoding.PEM) for item in (leaf, root)))
    (directory / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def read_credentials(file: bytes, media_type: str) -> tuple[str, dict[str, Any]]:
    """C2PA's verdict on a file, and the data of its assertions by label."""
    with c2pa.Reader(media_type, io.BytesIO(file)) as reader:
        report = json.loads(reader.json())
    manifest = report["manifests"][report["active_manifest"]]
    assert manifest["signature_info"]["issuer"] == "A print shop"
    return report["validation_state"], {item["label"]: item["data"] for item in manifest["assertions"]}


def settings(directory: Path, certificates: str = "chain.pem", key: str = "key.pem") -> Settings:
    return Settings(c2pa_certificates=directory / certificates, c2pa_key=directory / key)


def test_images_are_signed_with_what_was_done(own: Stack) -> None:
    write_certificate(own.directory)
    own.api()
    chain, key = own.directory / "chain.pem", own.directory / "key.pem"
    own.worker(SAFELIGHT_C2PA_CERTIFICATES=str(chain), SAFELIGHT_C2PA_KEY=str(key))
    edit: dict[str, Any] = {"operation": "edit", "image": data_url(an_image()), "output_format": "jpeg"}

    drawn = own.final(own.submit("a secret cat", seed=7, n=2)["id"])
    edited = own.final(own.submit(**edit)["id"])

    assert drawn["warnings"] == []
    for index, image in enumerate(drawn["images"]):
        verdict, assertions = read_credentials(own.image(image), "image/png")
        assert verdict == "Valid"
        (action,) = assertions["c2pa.actions.v2"]["actions"]
        assert (action["digitalSourceType"], action["softwareAgent"]["name"]) == (SOURCE_TYPE, "fake")
        receipt = assertions["org.safelight.receipt"]
        assert receipt["seed"] == 7 + index
        assert "worker" not in receipt
        assert "secret" not in json.dumps(assertions)
    verdict, assertions = read_credentials(own.image(edited["images"][0]), "image/jpeg")
    assert verdict == "Valid"
    assert assertions["c2pa.actions.v2"]["actions"][0]["digitalSourceType"] == COMPOSITE_SOURCE_TYPE
    changed = bytearray(own.image(drawn["images"][0]))
    changed[-20] ^= 1
    assert read_credentials(bytes(changed), "image/png")[0] == "Invalid"


def test_a_certificate_that_cannot_sign_ends_the_worker_at_its_start(tmp_path: Path) -> None:
    write_certificate(tmp_path, purpose=ExtendedKeyUsageOID.SERVER_AUTH)
    with pytest.raises(ContentCredentialsError, match="cannot sign with SAFELIGHT_C2PA_KEY"):
        ContentCredentials.open(settings(tmp_path))

    with pytest.raises(ContentCredentialsError, match=r"SAFELIGHT_C2PA_CERTIFICATES: .*/absent\.pem cannot be read"):
        ContentCredentials.open(settings(tmp_path, certificates="absent.pem"))

    with pytest.raises(ContentCredentialsError, match="no private key"):
        ContentCredentials.open(settings(tmp_path, key="chain.pem"))

    with pytest.raises(ValueError, match="set together or not at all"):
        Settings(c2pa_key=tmp_path / "key.pem")


def test_an_image_that_cannot_be_signed_is_stored_without_credentials(tmp_path: Path) -> None:
    write_certificate(tmp_path)
    credentials = ContentCredentials.open(settings(tmp_path))
    assert credentials is not None

    data, (warning,) = credentials.sign(b"no image", "image/png", "generation", "fake", 3, {})

    assert data == b"no image"
    assert warning["code"] == "content_credentials_omitted"
    assert warning["message"].startswith("Image 3 is stored without content credentials, because signing it failed: ")
