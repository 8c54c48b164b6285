"""Encoding: no prompt, format or size loses an image, and a full disk is an error of the storage."""

import io
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from worker.generation.encode import MAX_PROMPT_BYTES, encode, xmp

FORMATS = ("png", "webp", "jpeg")
MAX_SEGMENT_BYTES = 65_533 - 29  # of JPEG, less the name of the segment
LONG = 32_000
FORBIDDEN = re.compile("[^\\t\\n\\r\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")


def description(packet: bytes) -> str:
    """The prompt in a packet, as an XML parser reads it."""
    texts = ElementTree.fromstring(packet.decode().split("?>", 1)[1].rsplit("<?", 1)[0]).itertext()  # noqa: S314 - ours
    return "".join(texts).strip("\n")


@given(
    prompt=st.text(st.characters(), max_size=300),
    output_format=st.sampled_from(FORMATS),
    compression=st.none() | st.integers(0, 100),
    width=st.integers(1, 40),
    height=st.integers(1, 40),
)
@example("\x00 a cat \ud800", "png", None, 1, 1)
@example("&" * LONG, "jpeg", None, 1, 1)
@example("界" * LONG, "webp", 0, 3, 2)
@example("😀" * LONG, "jpeg", 100, 2, 3)
@settings(max_examples=60, deadline=None)
def test_every_prompt_fits_into_every_format(
    prompt: str, output_format: str, compression: int | None, width: int, height: int
) -> None:
    packet = xmp(prompt, "a-model", 7)
    assert len(packet) <= MAX_SEGMENT_BYTES
    infotext = f"{prompt}\nSteps: 5, Sampler: Default, Seed: 7"
    data = encode(Image.new("RGB", (width, height), "red"), output_format, compression, packet, infotext)
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        assert (image.format, image.size) == (output_format.upper(), (width, height))
        written = image.info.get("XML:com.adobe.xmp") or image.info["xmp"].decode()
        text = image.info.get("parameters")
    assert written.encode() == packet
    description(packet)
    assert text == (FORBIDDEN.sub("\ufffd", infotext) if output_format == "png" else None)


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("a < b & c", "a < b & c"),
        ("a\x00b\ud800c\uffffd", "a\ufffdb\ufffdc\ufffdd"),
        ("a" * (MAX_PROMPT_BYTES - 1), "a" * (MAX_PROMPT_BYTES - 1)),
    ],
)
def test_a_packet_has_the_prompt_as_far_as_xml_allows(prompt: str, text: str) -> None:
    assert description(xmp(prompt, "a-model", 7)) == text


def test_a_long_prompt_is_shortened_in_the_packet() -> None:
    text = description(xmp("界" * LONG, "a-model", 7))
    assert text.endswith("界…")
    assert len(text) > LONG // 4


FULL_DISK = """
import resource
from core.errors import StorageUnavailable
from core.settings import Settings
from core.storage import Storage
storage = Storage(Settings())
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # a file cannot grow any more, as on a full disk
try:
    storage.put("jobs/a/b/0.png", b"x" * 100_000, "image/png")
except StorageUnavailable as error:
    print("unavailable:", error.code)
storage.put("jobs/a/b/1.png", b"x" * 1000, "image/png")
print(len(storage.get("jobs/a/b/1.png")))
"""


def test_a_full_disk_is_an_error_of_the_storage_that_is_retried(tmp_path: Path) -> None:
    environment = {"SAFELIGHT_DATA_DIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(
        [sys.executable, "-c", FULL_DISK], env=environment, cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert ended.stdout.split() == ["unavailable:", "storage_unavailable", "1000"]
