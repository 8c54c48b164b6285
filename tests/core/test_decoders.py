"""Decoder processes: whatever an image does, it ends, and other projects' images are decoded meanwhile."""

import asyncio
import io
import os
import struct
import zlib
from collections.abc import Iterator, Mapping

import psutil
import pytest
from PIL import Image

from core.errors import InvalidParameter
from core.images.decoders import Decoders
from core.images.preprocess import Preprocessing
from core.images.resizing import Enlargement
from core.images.structure import MAX_CHUNKS, MAX_SCANS, MAX_SEGMENTS
from tests.images import HEIC, a_mask, an_image, decode, encode
from tests.stack import settings_of
from tests.waiting import FACTOR, PATIENCE, until

LARGE = encode(Image.new("1", (8000, 4000)))
"""32 megapixels in 5 kB. It takes half a second."""


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    pool = Decoders(settings_of({"SAFELIGHT_DECODE_TIMEOUT": str(20 * FACTOR)}))
    yield pool
    pool.close()


def processes() -> list[psutil.Process]:
    children = psutil.Process().children()
    return [
        child
        for child in children
        if child.status() != psutil.STATUS_ZOMBIE and "core.images.decoder" in child.cmdline()
    ]


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of_chunks(count: int) -> bytes:
    png = encode(an_image())
    return png[:33] + chunk(b"teXt") * count + png[33:]


def jpeg_of_scans(count: int) -> bytes:
    buffer = io.BytesIO()
    an_image().save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    start = data.index(b"\xff\xda")
    end = data.index(b"\xff", start + 2)
    while data[end + 1] == 0:
        end = data.index(b"\xff", end + 2)
    return data[:end] + data[start:end] * count + data[end:]


def test_images_come_out_as_png_and_with_their_transparency(decoders: Decoders) -> None:
    data = {"image": encode(an_image(), "JPEG"), "mask": encode(a_mask())}

    result = decoders.submit("p", data, ["mask"]).result(PATIENCE)

    assert (result.is_transparent, list(result.pngs)) == (False, ["mask"])
    assert decode(result.pngs["mask"]).size == (64, 64)
    assert decoders.submit("p", {"image": encode(a_mask())}, []).result(PATIENCE).is_transparent


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff\xd8" + b"\xff" * 5_000_000, "no marker at byte 2"),
        (b"\xff\xd8" + b"\xff\x00" * 2_500_000, "no marker at byte 2"),
        (b"\xff\xd8" + b"\xff\xfe\x00\x02" * 2_500_000, f"more than {MAX_SEGMENTS} segments"),
        (b"\xff\xd8\xff\xd9" + b"\xff" * 5_000_000, "ends before its pixels"),
        (jpeg_of_scans(5000), f"more than {MAX_SCANS} scans"),
        (png_of_chunks(500_000), f"more than {MAX_CHUNKS} chunks"),
    ],
    ids=["fill bytes", "padding", "segments", "end", "scans", "chunks"],
)
def test_a_file_that_is_slow_to_parse_is_refused_before(decoders: Decoders, data: bytes, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message) as refusal:
        decoders.submit("p", {"image": data}, ["image"]).result(PATIENCE)

    assert refusal.value.param == "image"


def test_files_just_below_the_limits_are_decoded(decoders: Decoders) -> None:
    for data in (png_of_chunks(MAX_CHUNKS - 10), jpeg_of_scans(MAX_SCANS // 2)):
        assert decode(decoders.submit("p", {"image": data}, ["image"]).result(PATIENCE).pngs["image"]).size == (64, 64)


def test_an_image_that_takes_too_long_is_stopped_and_the_next_is_decoded() -> None:
    pool = Decoders(settings_of({"SAFELIGHT_DECODE_TIMEOUT": "0.1"}))

    with pytest.raises(InvalidParameter, match=r"image took longer than 0\.1 s to decode"):
        pool.submit("p", {"image": LARGE}, ["image"]).result(PATIENCE)

    assert pool.submit("p", {"image": encode(an_image())}, ["image"]).result(PATIENCE).pngs
    pool.close()


def test_a_process_may_use_memory_for_the_largest_image_only(decoders: Decoders) -> None:
    decoders.submit("p", {"image": encode(an_image())}, []).result(PATIENCE)

    limits = {process.rlimit(psutil.RLIMIT_AS) for process in processes()}

    assert all(1e9 < soft == hard < 2e9 for soft, hard in limits), limits


def test_heic_is_decoded_in_the_process(decoders: Decoders) -> None:
    assert decode(decoders.submit("p", {"image": HEIC}, ["image"]).result(PATIENCE).pngs["image"]).size == (48, 64)


def test_what_is_enlarged_has_a_maximum_of_bytes(decoders: Decoders) -> None:
    images = {"a": encode(an_image()), "b": encode(an_image())}

    def enlarge(max_bytes: int) -> Mapping[str, bytes]:
        options = Enlargement(factor=2, is_nearest=True, size=None, is_cropped=True, max_side=4096, max_bytes=max_bytes)
        return asyncio.run(decoders.enlarge("one", images, options))

    size = len(enlarge(10**6)["a"])
    assert len(enlarge(2 * size)) == 2
    with pytest.raises(InvalidParameter, match="b: the enlarged images have more than"):
        enlarge(2 * size - 1)


def test_a_process_that_dies_is_replaced(decoders: Decoders) -> None:
    decoders.submit("p", {"image": encode(an_image())}, []).result(PATIENCE)
    victims = processes()
    for process in victims:
        process.kill()
    until(lambda: all(process.status() == psutil.STATUS_ZOMBIE for process in victims))

    assert decoders.submit("p", {"image": encode(an_image())}, ["image"]).result(PATIENCE).pngs


def test_a_project_leaves_a_decoder_to_the_others(decoders: Decoders) -> None:
    slow = [decoders.submit("a", {"image": LARGE}, ["image"]) for _ in range(6)]

    assert decoders.submit("b", {"image": encode(an_image())}, ["image"]).result(PATIENCE).pngs

    assert sum(future.done() for future in slow) < 4, "b did not wait for its turn behind a"
    assert all(future.result(PATIENCE).pngs for future in slow)
    assert len(processes()) <= 3


def test_a_decoder_process_has_no_keys(decoders: Decoders, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Decoders(settings_of({}))  # settings refuse an example as a key
    monkeypatch.setitem(os.environ, "AWS_SECRET_ACCESS_KEY", "secret")
    before = {process.pid for process in processes()}
    pool.submit("p", {"image": encode(an_image())}, []).result(PATIENCE)

    (process,) = [process for process in processes() if process.pid not in before]

    assert "AWS_SECRET_ACCESS_KEY" not in process.environ()
    assert not any(name.startswith("SAFELIGHT_") for name in process.environ())
    pool.close()
    assert not process.is_running()


def test_closing_ends_a_decoding_that_is_in_progress() -> None:
    pool = Decoders(settings_of({}))
    before = {process.pid for process in processes()}
    future = pool.submit("p", {"image": LARGE}, ["image"])
    until(lambda: len(processes()) > len(before))

    pool.close()

    with pytest.raises(RuntimeError, match=r"closed|did not start"):
        future.result(PATIENCE)
    until(lambda: {process.pid for process in processes()} <= before)


def test_control_images_leave_their_memory_to_other_images() -> None:
    pool = Decoders(settings_of({"SAFELIGHT_MAX_IMAGE_PIXELS": "1000000", "SAFELIGHT_DECODERS": "2"}))
    largest = encode(Image.new("RGBA", (1000, 1000), "teal"))

    def preprocess(kind: str, max_bytes: int = 10**7) -> Image.Image:
        options = Preprocessing(kind=kind, max_bytes=max_bytes)
        return decode(asyncio.run(pool.preprocess("p", {"a": largest}, options))["a"])

    for kind in ("canny", "lineart", "tile"):
        assert preprocess(kind).size == (1000, 1000)
        assert pool.submit("p", {"image": largest}, ["image"]).result(PATIENCE).pngs, f"after {kind}"
    with pytest.raises(InvalidParameter, match="a: the control images have more than 10 bytes together") as refusal:
        preprocess("canny", max_bytes=10)
    assert refusal.value.param == "a"
    pool.close()
