"""Input images: whatever a file holds, the result is a plain image or a refusal."""

import struct
import zlib
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from core.errors import InvalidParameter
from core.images import decode
from core.images.decode import Limits
from tests.images import HEIC, a_mask, an_image, encode, same

LIMITS = Limits(bytes=25_000_000, pixels=100_000)
GOOD = {
    "heic": HEIC,
    "png": encode(an_image()),
    "png with alpha": encode(a_mask()),
    "palette": encode(an_image().convert("P"), transparency=0),
    "jpeg": encode(an_image(), "JPEG"),
    "cmyk": encode(an_image().convert("CMYK"), "JPEG"),
    "webp": encode(an_image(), "WEBP"),
    "gif": encode(an_image(), "GIF"),
    "animated gif": encode(an_image(), "GIF", save_all=True, append_images=[an_image(colour="red")]),
    "avif": encode(an_image(), "AVIF"),
    "grey": encode(an_image().convert("L")),
    "black and white": encode(an_image().convert("1")),
}


@pytest.mark.parametrize("kind", GOOD)
def test_every_kind_of_image_comes_out_as_rgb_or_rgba_without_anything_beside_it(kind: str) -> None:
    image = decode.load(GOOD[kind], LIMITS)

    assert image.mode in ("RGB", "RGBA")
    assert (image.size, image.info) == ((48, 64) if kind == "heic" else (64, 64), {})
    assert decode.load(decode.png(image), LIMITS).tobytes() == image.tobytes()


@settings(max_examples=300, deadline=None)
@given(
    data=st.sampled_from(sorted(GOOD.values())),
    changes=st.lists(st.tuples(st.integers(8, 4000), st.integers(0, 255)), min_size=1, max_size=8),
    end=st.integers(16, 5000),
)
def test_a_broken_file_is_an_image_or_a_refusal_and_never_a_crash(
    data: bytes, changes: list[tuple[int, int]], end: int
) -> None:
    broken = bytearray(data)
    for place, value in changes:
        broken[place % len(broken)] = value

    with suppress(InvalidParameter):
        image = decode.load(bytes(broken[:end]), LIMITS, "mask")
        assert image.width * image.height <= LIMITS.pixels


def test_an_image_of_a_gigapixel_is_refused_by_its_header_alone() -> None:
    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(header)) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))

    with pytest.raises(InvalidParameter, match="pixels"):
        decode.load(GOOD["png"][:8] + chunk + GOOD["png"][33:], LIMITS)


def test_sixteen_bits_of_grey_keep_their_brightness() -> None:
    image = decode.load(encode(Image.new("I;16", (4, 4), 128 * 256)), LIMITS)

    assert image.getpixel((0, 0)) == (128, 128, 128)


def png_of(bits: int, colour_type: int, pixel: bytes) -> bytes:
    """A PNG of 2x2 equal pixels, of a kind that Pillow cannot write."""
    rows = (b"\0" + pixel * 2) * 2
    header = struct.pack(">IIBBBBB", 2, 2, bits, colour_type, 0, 0, 0)
    palette = [(b"PLTE", bytes([10, 20, 30, 40, 50, 60])), (b"tRNS", b"\xff\0")] if colour_type == 3 else []
    chunks = [(b"IHDR", header), *palette, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (png_of(16, 2, bytes.fromhex("ff01 8000 0000")), (255, 128, 0)),
        (png_of(16, 6, bytes.fromhex("ff01 8000 0000 7f00")), (255, 128, 0, 127)),
        (png_of(16, 4, bytes.fromhex("8000 0000")), (128, 128, 128, 0)),
        (encode(Image.new("LA", (2, 2), (200, 100))), (200, 200, 200, 100)),
        (png_of(8, 3, b"\1"), (40, 50, 60, 0)),
        (encode(Image.new("CMYK", (2, 2), (0, 255, 255, 0)), "JPEG", quality=100), (254, 0, 0)),
    ],
    ids=["rgb 16", "rgba 16", "grey and alpha 16", "grey and alpha", "palette with alpha", "cmyk"],
)
def test_unusual_pixels_keep_their_colours(data: bytes, expected: tuple[int, ...]) -> None:
    image = decode.load(data, LIMITS)

    assert image.getpixel((0, 0)) == pytest.approx(expected, abs=2)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_upright_however_the_camera_was_held(orientation: int) -> None:
    upright = an_image((64, 32))
    transpose = Image.Transpose
    stored = {
        1: None, 2: transpose.FLIP_LEFT_RIGHT, 3: transpose.ROTATE_180, 4: transpose.FLIP_TOP_BOTTOM,
        5: transpose.TRANSPOSE, 6: transpose.ROTATE_90, 7: transpose.TRANSVERSE, 8: transpose.ROTATE_270,
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation

    image = decode.load(encode(upright if stored is None else upright.transpose(stored), exif=exif), LIMITS)

    assert (image.size, image.tobytes()) == (upright.size, upright.tobytes())


def test_a_photo_of_an_iphone_is_read_and_upright() -> None:
    image = decode.load(HEIC, LIMITS)

    assert (image.size, image.mode, image.info) == ((48, 64), "RGB", {})
    gold, teal = image.getpixel((40, 5)), image.getpixel((5, 5))
    assert gold == pytest.approx((255, 215, 0), abs=8)
    assert teal == pytest.approx((0, 128, 128), abs=8)
    with pytest.raises(InvalidParameter, match="48x64 pixels"):
        decode.load(HEIC, Limits(bytes=25_000_000, pixels=1000))


def test_a_mask_is_its_transparent_pixels_or_else_its_white_ones() -> None:
    transparent = decode.mask_of(decode.load(encode(a_mask()), LIMITS))
    white = Image.new("RGB", (64, 64), "black")
    white.paste((255, 255, 255), (32, 0, 64, 64))

    assert decode.mask_of(decode.load(encode(white, "JPEG"), LIMITS)).tobytes() == transparent.tobytes()
    assert decode.mask_of(decode.load(encode(white.convert("1")), LIMITS)).tobytes() == transparent.tobytes()


def with_swapped_colours() -> bytes:
    """A profile like sRGB's, whose red is sRGB's blue."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return data.replace(b"rXYZ", b"TEMP").replace(b"bXYZ", b"rXYZ").replace(b"TEMP", b"bXYZ")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF"])
def test_colours_are_those_of_the_profile(kind: str) -> None:
    options = {"icc_profile": with_swapped_colours(), "quality": 100}
    image = decode.load(encode(Image.new("RGB", (16, 16), "red"), kind, **options), LIMITS)

    red, green, blue = image.getpixel((8, 8))  # type: ignore[misc]  # RGB
    assert (red < 10, green < 10, blue > 245) == (True, True, True)


def test_a_profile_that_is_broken_is_ignored_and_alpha_is_kept() -> None:
    plain = decode.load(encode(a_mask()), LIMITS)

    assert decode.load(encode(a_mask(), icc_profile=b"no profile"), LIMITS).tobytes() == plain.tobytes()
    swapped = decode.load(encode(a_mask(), icc_profile=with_swapped_colours()), LIMITS)
    assert swapped.getchannel("A").tobytes() == plain.getchannel("A").tobytes()


def test_of_an_animated_gif_the_first_frame_is_used() -> None:
    assert same(decode.load(GOOD["animated gif"], LIMITS), decode.load(GOOD["gif"], LIMITS), (0, 0, 64, 64))


def test_a_damaged_header_and_a_photo_of_a_telephone_are_explained() -> None:
    damaged = bytearray(GOOD["png"])
    damaged[30] ^= 1  # the checksum of its header
    with pytest.raises(InvalidParameter, match="cannot be decoded as PNG") as caught:
        decode.load(bytes(damaged), LIMITS)
    assert "0x" not in str(caught.value)
    with pytest.raises(InvalidParameter, match="image cannot be decoded as HEIC: its header is damaged"):
        decode.load(b"\0\0\0\x18ftypheic" + bytes(16), LIMITS)


def test_a_mask_keeps_black_and_white_when_it_is_fitted() -> None:
    mask = decode.fit(decode.mask_of(decode.load(GOOD["png with alpha"], LIMITS)), 37, 91)

    assert mask.size == (37, 91)
    assert {value for _count, value in mask.getcolors() or ()} == {0, 255}


def test_what_was_transparent_is_laid_on_white() -> None:
    image = decode.opaque(decode.load(GOOD["png with alpha"], LIMITS))

    assert (image.getpixel((0, 0)), image.getpixel((63, 0))) == ((0, 0, 0), (255, 255, 255))
