"""The file names of a batch's images, in its ZIP file and in the output directory of `safelight batch`.

They are valid on every file system. Names of lines sort as the lines do, as the number is padded, and show the
beginning of the prompt.
"""

import re
import unicodedata

MAX_SLUG_CHARS = 40
MAX_SLUG_BYTES = 80
"""In UTF-8. A name is far below the 143 bytes that some encrypted file systems allow."""

_LINE = re.compile(r"line-([1-9]\d{0,6})")


def image_stem(custom_id: str, prompt: str | None) -> str | None:
    """The beginning of the names of a line's images: `line-00002-a-cat-on-a-sofa`.

    None: the line has a `custom_id` of its own. Otherwise the number makes the name unique.
    """
    match = _LINE.fullmatch(custom_id)
    if match is None:
        return None
    text = slug(prompt or "")
    return f"line-{int(match[1]):05d}{'-' if text else ''}{text}"


def is_reserved(name: str) -> bool:
    """Whether a name could be that of another line's images by `image_stem`."""
    return re.match(r"line-\d{5,}", name, re.IGNORECASE) is not None


def slug(prompt: str) -> str:
    """The beginning of a prompt in letters and digits of any language, in lower case, with hyphens between words."""
    text = unicodedata.normalize("NFKC", prompt[: 10 * MAX_SLUG_CHARS]).lower()
    # Vowel signs of Thai or Hindi are marks (M), without which the words could not be read.
    letters = "".join(character if unicodedata.category(character)[0] in "LNM" else " " for character in text)
    words = unicodedata.normalize("NFC", "-".join(letters.split()))
    beginning = words[:MAX_SLUG_CHARS].encode()[:MAX_SLUG_BYTES].decode(errors="ignore")
    if len(beginning) < len(words) and words[len(beginning)] != "-":
        whole_words = beginning.rpartition("-")[0]
        beginning = whole_words if len(whole_words) > len(beginning) // 2 else beginning
    return beginning.strip("-")
