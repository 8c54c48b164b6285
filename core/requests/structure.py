"""Reads JSON from clients with bounds on its structure: values, keys of an object, levels, digits of a number.

A body of a megabyte may have half a million values. Each costs memory, and each wrong one is an error that pydantic
renders, although a client gets only the first. The bytes are counted before any value is created.
"""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from core.errors import InvalidJSON, InvalidParameter, InvalidRequest
from core.text import shorten

MAX_SEPARATORS = 20_000
"""Commas and opening brackets of a text: a bound on its values that costs nothing to count. Those inside strings count,
so the longest prompt may have one at every third place."""

MAX_KEYS = 200
"""Keys of an object. A request has some forty parameters."""

MAX_LEVELS = 16
"""Lists and objects inside each other."""

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def load_json(content: bytes, max_separators: int = MAX_SEPARATORS) -> Any:
    """The value of a JSON text. Raises InvalidJSON; InvalidRequest if it exceeds a bound; InvalidParameter if an object
    has a key twice.
    """
    openings = content.count(b"[") + content.count(b"{")
    if content.count(b",") + openings > max_separators:
        raise InvalidRequest(f"The body has more than {max_separators} commas and opening brackets.", param="body")
    try:
        text = content.decode("utf-8-sig")  # some clients put a byte order mark first
        value = json.loads(text, object_pairs_hook=_object)
        if _SURROGATE.search(text):  # a pair of them is a character, one alone is not
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise _invalid(f"{error.msg} at line {error.lineno} column {error.colno}") from None
    except UnicodeDecodeError as error:
        raise _invalid(f"it is not UTF-8, from byte {error.start + 1} on") from None
    except UnicodeEncodeError:
        raise _invalid("a surrogate of a hex escape has no other half") from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError:  # what is left: a number that Python does not convert
        raise _invalid("a number has too many digits") from None
    if openings > MAX_LEVELS and _has_more_levels(value):
        raise _too_deep()
    return value


def _has_more_levels(value: Any) -> bool:
    """Whether a value has more than MAX_LEVELS."""
    containers = [value]
    for _ in range(MAX_LEVELS):
        children = (child for container in containers for child in _children(container))
        containers = [child for child in children if isinstance(child, (dict, list))]
        if not containers:
            return False
    return True


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_KEYS:
        raise InvalidRequest(f"The body has an object with more than {MAX_KEYS} keys.", param="body")
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        name = shorten(next(name for name in names if names.count(name) > 1))
        raise InvalidParameter(f"{name} appears twice in an object of the body.", param=name)
    return fields


def _too_deep() -> InvalidRequest:
    return InvalidRequest(f"The body has more than {MAX_LEVELS} lists and objects inside each other.", param="body")


def _invalid(reason: str) -> InvalidJSON:
    return InvalidJSON(f"The body is not valid JSON: {reason}.", param="body")
