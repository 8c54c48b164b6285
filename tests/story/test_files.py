"""Files, as OpenAI's SDK uploads, lists, reads and deletes them."""

import io
import os
import time
from datetime import timedelta
from pathlib import Path

import openai
import pytest
import sqlalchemy as sa

from core.storage import Storage
from core.tables import files
from tests.images import an_image, encode, upload
from tests.stack import Stack, body
from worker.sweep.cleanup import ORPHAN_AGE, Cleanup

LINES = b'{"custom_id": "1"}\n' * 200_000  # more than the form keeps in memory


def test_the_sdk_uploads_lists_reads_and_deletes_a_file(safelight: Stack) -> None:
    with openai.OpenAI(base_url=f"{safelight.url}/v1", api_key="anything") as client:
        batch = client.files.create(file=("päckchen 1.jsonl", LINES), purpose="batch")
        vision = client.files.create(
            file=io.BytesIO(encode(an_image())),
            purpose="vision",
            expires_after={"anchor": "created_at", "seconds": 3600},
        )
        pages = client.files.list(limit=1)
        file_ids = [file.id for file in pages if file.id in (batch.id, vision.id)]
        batches = [file.id for file in client.files.list(purpose="batch", order="asc")]
        retrieved = client.files.retrieve(batch.id)
        content = client.files.content(batch.id)
        deletion = client.files.delete(batch.id)
        with pytest.raises(openai.NotFoundError) as caught:
            client.files.content(batch.id)

    assert (batch.filename, batch.bytes, batch.purpose, batch.object) == (
        "päckchen 1.jsonl", len(LINES), "batch", "file",
    )  # fmt: skip
    assert batch.status == "processed"
    assert batch.expires_at == batch.created_at + 30 * 24 * 3600
    assert vision.expires_at == vision.created_at + 3600
    assert file_ids == [vision.id, batch.id]
    assert batch.id in batches
    assert vision.id not in batches
    assert retrieved == batch
    assert content.content == LINES
    assert (deletion.id, deletion.deleted) == (batch.id, True)
    assert caught.value.code == "not_found"
    assert not (safelight.directory / "images" / "files" / batch.id).exists()


def test_a_file_is_served_as_a_download_and_never_as_a_page(safelight: Stack) -> None:
    file = upload(safelight, b"<script>", 'a";b.html', purpose="user_data")

    answer = safelight.client.get(f"/v1/files/{file['id']}/content")

    assert file["expires_at"] is None
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert answer.headers["x-content-type-options"] == "nosniff"


BAD: dict[str, tuple[dict[str, str], dict[str, tuple[str, bytes]], str, str]] = {
    # fields, files; param, and a word that helps
    "no purpose": ({}, {"file": ("a", b"x")}, "purpose", "required"),
    "another purpose": ({"purpose": "assistants"}, {"file": ("a", b"x")}, "purpose", "'vision'"),
    "no file": ({"purpose": "vision"}, {"other": ("a", b"x")}, "other", "file"),
    "an empty file": ({"purpose": "vision"}, {"file": ("a", b"")}, "file", "empty"),
    "a field of ours": ({"purpose": "vision", "x": "1"}, {"file": ("a", b"x")}, "x", "expires_after"),
    "a long name": ({"purpose": "vision"}, {"file": ("a" * 256, b"x")}, "file", "255"),
    "a second of life": (
        {"purpose": "vision", "expires_after[anchor]": "created_at", "expires_after[seconds]": "1"},
        {"file": ("a", b"x")}, "expires_after.seconds", "3600",
    ),
    "no anchor": (
        {"purpose": "vision", "expires_after[seconds]": "3600"}, {"file": ("a", b"x")}, "expires_after.anchor",
        "required",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_upload_is_refused_by_name_and_nothing_is_stored(safelight: Stack, case: str) -> None:
    fields, uploads, param, word = BAD[case]
    before = safelight.count(files)

    answer = safelight.client.post("/v1/files", data=fields, files=uploads)

    error = body(answer)["error"]
    assert (answer.status_code, error["param"]) == (400, param), error
    assert word in error["message"]
    assert safelight.count(files) == before


@pytest.mark.parametrize(
    ("disposition", "filename"),
    [
        ('filename="猫 ü.png"'.encode(), "猫 ü.png"),
        (b'filename="a\xff.png"', "aÿ.png"),
        (b'filename="a\\"b.png"', 'a"b.png'),
        (b'filename="C:\\dir\\a.png"', "a.png"),
        (b'filename="../../etc/passwd"', "../../etc/passwd"),
        (b'filename=""', "upload"),
        (b"filename=\"x.png\"; filename*=UTF-8''%e7%8c%ab.png", "x.png"),
        (b"filename=\"=?utf-8?B?54yrLnBuZw==?=\"; filename*=utf-8''%E7%8C%AB.png", "猫.png"),
        (b'filename="=?what?B?54yr?="', "=?what?B?54yr?="),
        (b"filename*=UTF-8''%e7%8c%ab.png", None),
        (b'filename="a\tb\x01.png"', None),
        ('filename="a\u202egnp.exe"'.encode(), None),
        (b'filename="' + b"a" * 4096 + b'"', None),
        (b'filename="' + b"a" * 100_000 + b'"', None),
    ],
)
def test_a_name_of_a_file_is_read_or_refused_in_a_sentence(
    safelight: Stack, disposition: bytes, filename: str | None
) -> None:
    content = (
        b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
        b'--x\r\nContent-Disposition: form-data; name="file"; ' + disposition + b"\r\n\r\ncontent\r\n--x--\r\n"
    )

    answer = safelight.client.post(
        "/v1/files", content=content, headers={"content-type": "multipart/form-data; boundary=x"}
    )

    if filename is not None:
        assert (answer.status_code, body(answer)["filename"]) == (200, filename)
        file = safelight.client.get(f"/v1/files/{body(answer)['id']}/content")
        assert file.content == b"content"
        assert file.headers["content-disposition"].isascii()
        return
    assert (answer.status_code, body(answer)["error"]["type"]) == (400, "invalid_request_error")
    assert body(answer)["error"]["param"] in ("file", "body")


@pytest.mark.parametrize("content", [b"--x\r\nnonsense", b"", b"--x\r\n\r\n\r\n--x--"])
def test_what_is_no_form_is_refused(safelight: Stack, content: bytes) -> None:
    headers = {"content-type": "multipart/form-data; boundary=x"}

    answers = [
        safelight.client.post("/v1/files", content=content, headers=headers),
        safelight.client.post("/v1/files", content=content, headers={"content-type": "multipart/form-data"}),
        safelight.client.post("/v1/files", json={"purpose": "vision"}),
    ]

    assert [answer.status_code for answer in answers] == [400, 400, 415]
    assert all(body(answer)["error"]["type"] == "invalid_request_error" for answer in answers)


def test_a_file_that_is_too_large_is_refused_before_it_is_read(own: Stack) -> None:
    own.environment["SAFELIGHT_MAX_FILE_BYTES"] = "2000"
    own.api()

    fits = own.client.post("/v1/files", data={"purpose": "vision"}, files={"file": ("a", b"x" * 2000)})
    answer = own.client.post("/v1/files", data={"purpose": "vision"}, files={"file": ("a", b"x" * 200_000)})

    def endless() -> object:
        yield b'--x\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
        yield from (b"x" * 10_000 for _ in range(20))

    headers = {"content-type": "multipart/form-data; boundary=x"}
    untold = own.client.post("/v1/files", content=endless(), headers=headers)  # type: ignore[arg-type]

    assert [answer.status_code for answer in (fits, answer, untold)] == [200, 413, 413]
    assert body(answer)["error"]["code"] == "request_too_large"
    assert own.count(files) == 1


def test_an_expired_file_is_gone_at_once_and_swept_with_its_object(own: Stack) -> None:
    own.api()
    expired, file_id = (upload(own, encode(an_image()))["id"] for _ in range(2))
    own.database.execute(sa.update(files).where(files.c.id == expired).values(expires_at=sa.func.now()))

    answers = [own.client.get(f"/v1/files/{file_id}").status_code for file_id in (expired, file_id)]
    cleanup = Cleanup(own.settings)
    cleanup.run_once()
    cleanup.close()

    assert answers == [404, 200]
    assert [row.id for row in own.database.execute(sa.select(files))] == [file_id]
    assert [item.key for item in Storage(own.settings).list("files/")] == [f"files/{file_id}"]


def test_an_object_without_a_file_is_swept_and_a_files_is_not(own: Stack) -> None:
    own.api()
    file_id = upload(own, encode(an_image()))["id"]
    storage = Storage(own.settings)
    storage.put("files/file-lost", b"of an upload whose row was never written", "image/png")
    orphan_time = time.time() - (ORPHAN_AGE + timedelta(minutes=1)).total_seconds()
    for path in Path(own.directory, "images", "files").iterdir():
        os.utime(path, (orphan_time, orphan_time))

    cleanup = Cleanup(own.settings)
    cleanup.run_once()
    cleanup.close()

    assert [item.key for item in storage.list("files/")] == [f"files/{file_id}"]
    assert own.client.get(f"/v1/files/{file_id}/content").status_code == 200
