"""Encodes images as PNG, WebP or JPEG, with metadata about how they were generated.

An XMP packet declares that the image is generated: IPTC's digital source type `trainedAlgorithmicMedia`, as the IPTC
Photo Metadata Standard 2025.1 requires. It also contains the prompt, the model and the seed.
`SAFELIGHT_EMBED_METADATA=false` omits the packet.
"""

import io
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from PIL.Image import Image
from PIL.PngImagePlugin import PngInfo

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"

PNG_LEVEL = 1
"""zlib level: 4.4 times as fast as Pillow's default at 1.19 times the bytes (docs/05-performance.md)."""

_XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:safelight="urn:safelight:metadata:1"
 Iptc4xmpExt:DigitalSourceType="{source}" safelight:model={model} safelight:seed="{seed}">
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{prompt}</rdf:li></rdf:Alt></dc:description>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="r"?>"""


def xmp(prompt: str, model: str, seed: int) -> bytes:
    """The XMP packet of an image."""
    packet = _XMP.format(source=SOURCE_TYPE, model=quoteattr(model), seed=seed, prompt=escape(prompt))
    return packet.encode()


def encode(image: Image, output_format: str, compression: int | None, packet: bytes | None) -> bytes:
    """An image as the bytes of a file.

    compression: quality of webp and jpeg, 0-100, by default 90; png is lossless. packet: XMP, or None for none.
    """
    buffer = io.BytesIO()
    options: dict[str, Any] = {}
    if output_format == "png":
        options = {"compress_level": PNG_LEVEL, "pnginfo": _png_info(packet)}
    else:
        options = {"quality": 90 if compression is None else compression}
        if packet is not None:
            options["xmp"] = packet
    image.save(buffer, output_format, **options)
    return buffer.getvalue()


def _png_info(packet: bytes | None) -> PngInfo:
    info = PngInfo()
    if packet is not None:
        info.add_itxt("XML:com.adobe.xmp", packet.decode(), zip=False)
    return info
