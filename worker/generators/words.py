"""Names the words of a prompt that a model with a closed vocabulary does not know, in English and Chinese.

The file of the words is in the catalogue's field `words`. It has phrases: `known`, and `without_effect`, which the
model was taught to ignore. The longest phrase that fits is taken; a word of a known phrase is known too.
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from core.generation import Notice
from core.generation_errors import ModelUnavailable

MAX_NAMED: Final = 10
"""Words that a notice names; it counts the others."""

MAX_CHARACTERS: Final = 4000
"""Of a prompt; what follows is not checked."""

MAX_WORD: Final = 40
"""Characters of a word that a notice quotes."""

_CHINESE: Final = "\u3400-\u9fff\uf900-\ufaff"
_PARTS: Final = re.compile(f"[{_CHINESE}]+|[^\\W_{_CHINESE}]+(?:['’-][^\\W_{_CHINESE}]+)*")
"""Runs of Chinese characters, and words of other scripts."""


class Words:
    """The vocabulary of a model."""

    def __init__(self, known_phrases: Iterable[str], without_effect: Iterable[str]) -> None:
        self._known_phrases = {tuple(_parts(phrase)): True for phrase in known_phrases}
        self._phrases = self._known_phrases | {tuple(_parts(phrase)): False for phrase in without_effect}
        self._longest = max(map(len, self._phrases), default=1)
        self._single = {word for phrase in self._known_phrases for word in phrase if not _is_chinese(word)}

    @classmethod
    def load(cls, path: Path) -> "Words":
        """Read the file. Raises ModelUnavailable."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            return cls(data["known"], data["without_effect"])
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise ModelUnavailable(f"The list of words {path} cannot be read: {type(error).__name__}.") from error

    def notice(self, prompt: str, param: str) -> Notice | None:
        """A notice that names the words of a prompt which the model does not know; None if it knows all."""
        words = list(dict.fromkeys(self.list_unknown(prompt[:MAX_CHARACTERS])))
        if not words:
            return None
        names = ", ".join(f"“{word[:MAX_WORD]}”" for word in words[:MAX_NAMED])
        remainder = f" and {len(words) - MAX_NAMED} more" if len(words) > MAX_NAMED else ""
        message = (
            f"The model does not know these words of {param}, so the image does not show them: {names}{remainder}."
        )
        return Notice("unknown_words", message, param)

    def list_unknown(self, prompt: str) -> Iterator[str]:
        """The unknown words, in their order. Chinese characters that follow each other are one word."""
        parts = list(_parts(prompt.lower()))
        unknown_characters = ""
        index = 0
        while index < len(parts):
            length = self._match(parts, index)
            phrase = tuple(parts[index : index + max(length, 1)])
            is_known = bool(length) and (self._phrases.get(phrase, True))
            if not length and _is_chinese(parts[index]):
                unknown_characters += parts[index]
            else:
                if unknown_characters:
                    yield unknown_characters
                    unknown_characters = ""
                if not is_known:
                    yield ("" if _is_chinese(phrase[0]) else " ").join(phrase)
            index += max(length, 1)
        if unknown_characters:
            yield unknown_characters

    def _match(self, parts: list[str], index: int) -> int:
        """The number of parts of the longest phrase, or of the known word, that begins at a part; 0: none does."""
        for length in range(min(self._longest, len(parts) - index), 0, -1):
            if tuple(parts[index : index + length]) in self._phrases:
                return length
        return 1 if self._is_known_word(parts[index]) else 0

    def _is_known_word(self, word: str) -> bool:
        singulars = {word, word.removesuffix("s"), word.removesuffix("es"), word.removesuffix("'s").removesuffix("’s")}
        return not singulars.isdisjoint(self._single)


def _parts(text: str) -> Iterator[str]:
    """Chinese characters, and the words of other scripts."""
    for match in _PARTS.finditer(text):
        yield from match[0] if _is_chinese(match[0]) else [match[0]]


def _is_chinese(text: str) -> bool:
    return re.match(f"[{_CHINESE}]", text) is not None
