"""Encodes images as PNG, WebP or JPEG, with metadata about how they were generated.

An XMP packet declares that the image is generated: IPTC's digital source type `trainedAlgorithmicMedia`, as the IPTC
Photo Metadata Standard 2025.1 requires. It also contains the prompt, the model and the seed. A prompt that the packet
cannot hold is changed there, not refused: characters that XML forbids are replaced, and a long prompt is shortened.
A PNG also has the infotext that AUTOMATIC1111's webui writes, because most tools of its users read only that.
`SAFELIGHT_EMBED_METADATA=false` omits both.
"""

import io
import re
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from PIL.Image import Image
from PIL.PngImagePlugin import PngInfo

from core.parameters.infotext import CHUNK

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"

PNG_LEVEL = 1
"""zlib level: 4.4 times as fast as Pillow's default at 1.19 times the bytes (docs/05-performance.md)."""

MAX_PROMPT_BYTES = 60_000
"""Of the prompt as XML. The whole packet must fit into a segment of JPEG, which has 65,533 bytes."""

_FORBIDDEN = re.compile("[^\\t\\n\\r\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")
"""Characters that XML 1.0 forbids, such as NUL and lone surrogates."""

_XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:safelight="urn:safelight:metadata:1"
 Iptc4xmpExt:DigitalSourceType="{source}" safelight:model={model} safelight:seed="{seed}">
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{prompt}</rdf:li></rdf:Alt></dc:description>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="r"?>"""


def xmp(prompt: str, model: str, seed: int) -> bytes:
    """The XMP packet of an image: valid XML of less than 64 KiB, whatever the prompt is."""
    packet = _XMP.format(source=SOURCE_TYPE, model=quoteattr(model), seed=seed, prompt=_xml_text(prompt))
    return packet.encode()


def _xml_text(prompt: str) -> str:
    """A prompt as XML, with an ellipsis at its end if it has more than MAX_PROMPT_BYTES there."""
    text = _FORBIDDEN.sub("\ufffd", prompt)
    escaped_text = escape(text)
    if len(escaped_text.encode()) <= MAX_PROMPT_BYTES:
        return escaped_text
    end = MAX_PROMPT_BYTES  # each character has at least a byte
    while len(escape(text[:end]).encode()) > MAX_PROMPT_BYTES:
        end = end * 3 // 4
    return escape(text[:end]) + "…"


def encode(
    image: Image, output_format: str, compression: int | None, packet: bytes | None, infotext: str | None = None
) -> bytes:
    """An image as the bytes of a file.

    compression: quality of webp and jpeg, 0-100, by default 90; png is lossless. packet: XMP, or None for none.
    infotext: of a png (`core/parameters/infotext.py`), or None for none.
    """
    buffer = io.BytesIO()
    options: dict[str, Any] = {}
    if output_format == "png":
        options = {"compress_level": PNG_LEVEL, "pnginfo": _png_info(packet, infotext)}
    else:
        options = {"quality": 90 if compression is None else compression}
        if packet is not None:
            options["xmp"] = packet
    image.save(buffer, output_format, **options)
    return buffer.getvalue()


def _png_info(packet: bytes | None, infotext: str | None) -> PngInfo:
    info = PngInfo()
    if infotext is not None:
        info.add_text(CHUNK, _FORBIDDEN.sub("\ufffd", infotext))
    if packet is not None:
        info.add_itxt("XML:com.adobe.xmp", packet.decode(), zip=False)
    return info
