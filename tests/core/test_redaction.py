"""What tenants do not see of texts that libraries, providers and stores wrote, and what they still do."""

import logging
from pathlib import Path

import pytest

from core import generation_errors
from core.errors import StorageUnavailable
from core.generation_errors import GenerationError, GeneratorFailed
from core.storage import Storage
from core.telemetry.redaction import redact
from tests.stack import settings_of


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("in organization org-Ab12Cd on images per min", "in organization [id] on images per min"),
        ("Project `proj_Zq81` does not have access", "Project [name] does not have access"),
        ("in organization acme-corp (org-9a8b7c) on tokens", "in organization [name] ([id]) on tokens"),
        ("The project 'Secret Launch' is archived", "The project [name] is archived"),
        ("Incorrect API key provided: sk-proj-a1b2****9f.", "Incorrect API key provided: [key]"),
        ("request ID req_1a2b3c4d, write to ops@acme.example", "request ID [id], write to [email]"),
        ("see https://key:secret@proxy.internal:8443/v1?x=1", "see [url]"),
        ("postgresql://safelight:pw@db:5432/safelight refused", "[url] refused"),
        ("Authorization: Bearer abc.def-ghi_jkl failed", "Authorization: Bearer [key] failed"),
        ("AWS key AKIAIOSFODNN7EXAMPLE, secret=abc/def+1", "AWS key [key], secret=[key]"),
        ("10.1.2.3:9000 or minio:9000 or s3.corp.example:443", "[address] or [address] or [address]"),
        ("connect to fd00:0:0:1::2 failed", "connect to [address] failed"),
        ("bucket 'acme-images' is missing", "bucket [name] is missing"),
        ('role "safelight_owner" does not exist', "role [name] does not exist"),
        ("No such file: '/var/lib/safelight/images/jobs/x.png'", "No such file: '[path]'"),
        ("~/models/secret/unet.bin, ../../etc/passwd, /tmp/x", "[path], [path], [path]"),
        ("sl_0123456789abcdef is no key", "[key] is no key"),
    ],
)  # fmt: skip
def test_a_text_loses_what_belongs_to_the_operator(text: str, shown: str) -> None:
    assert redact(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "2 image(s) of 1024x1024 do not fit into the memory of cuda:0.",
        "The model generates 64x64, not 128x128.",
        "Upload it with POST /v1/files; the project has 3 files and/or images (n=1/2).",
        "The input file-01kc3m9w8yq6k0v2t5x7z1b4dn was deleted or has expired.",
        "job_01kc3m9w8yq6k0v2t5x7z1b4dn is queued since 2026-11-28T21:24:23Z; ratio 16:9",
        "Your organization must be verified to use the model `gpt-image-2`.",
        *(
            (error.__doc__ or "").split("\n")[0]
            for error in vars(generation_errors).values()
            if isinstance(error, type)
        ),
    ],
)
def test_a_text_about_the_request_stays_as_it_is(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("kind", [GenerationError, GeneratorFailed])
def test_every_error_of_a_job_shows_only_that_and_has_the_rest_for_the_log(kind: type[GenerationError]) -> None:
    error = kind("OSError: /opt/models/secret/unet.bin")

    assert (error.message, str(error), error.detail) == (
        "OSError: [path]", "OSError: /opt/models/secret/unet.bin", "OSError: /opt/models/secret/unet.bin"
    )  # fmt: skip


def test_an_error_of_the_store_does_not_say_where_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    storage = Storage(settings_of({"SAFELIGHT_DATA_DIR": str(tmp_path)}))
    (tmp_path / "images" / "jobs").write_text("a file where a directory must be")

    with caplog.at_level(logging.WARNING), pytest.raises(StorageUnavailable) as caught:
        storage.put("jobs/x/y/0.png", b"", "image/png")

    assert caught.value.message == "The image storage does not answer; try again."
    assert str(tmp_path) in caplog.text
