"""The check `words`: rejects prompts with terms of a list. Nothing leaves the machine, and it takes microseconds.

A list catches what is written plainly, and simple disguises: other letter cases, accents, full-width and look-alike
letters, digits for letters, spaces or dots between letters, invisible characters. It understands no meaning. The
shipped list, `words.toml`, has only what no operator may allow. An operator adds a list with
`SAFELIGHT_MODERATION_WORDS`.
"""

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated

from annotated_types import MinLen
from pydantic import BaseModel, ConfigDict, ValidationError

from core.moderation import Content

SHIPPED = Path(__file__).with_name("words.toml")

_LOOK_ALIKES = str.maketrans("аеорсухіјѕһԁɡⅼαεορνικτ", "aeopcyxijshdglaeopvikt")
"""Cyrillic, Greek and other letters that look like Latin ones."""

_DIGITS = str.maketrans("013457@$", "oieastas")
"""Digits and signs that are read as letters."""

_SPELLED_OUT = re.compile(r"(?<![^\W_])(?:[^\W_][\W_]{1,3}){2,}[^\W_](?![^\W_])")
"""Single letters with something between them: `n.u.d.e`. No character is both, so that no prompt is read for long."""

_CJK = re.compile(r"[぀-ヿ㐀-䶿一-鿿가-힣]")
_NO_WORD = re.compile(r"[\W_]+")

Term = Annotated[str, MinLen(2)]


class WordListError(Exception):
    """A word list cannot be used."""


class Rule(BaseModel):
    """Rejects a prompt that has one term of each list of `all_of`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    category: Annotated[str, MinLen(1)]
    all_of: Annotated[tuple[Annotated[tuple[Term, ...], MinLen(1)], ...], MinLen(1)]

    @cached_property
    def patterns(self) -> tuple[re.Pattern[str], ...]:
        """A pattern for each list of terms, for `normalize`d text."""
        return tuple(_pattern(terms) for terms in self.all_of)

    @cached_property
    def _terms(self) -> tuple[tuple[tuple[str, ...], re.Pattern[str]], ...]:
        """The terms of each list, normalized, and their pattern."""
        return tuple(
            (tuple(map(normalize, terms)), pattern) for terms, pattern in zip(self.all_of, self.patterns, strict=True)
        )

    def matches(self, texts: Iterable[str]) -> bool:
        """Whether one of the normalized readings of a prompt has a term of each list."""
        return any(all(_has_term(text, terms, pattern) for terms, pattern in self._terms) for text in texts)


class WordList(BaseModel):
    """The rules of a TOML file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rules: Annotated[tuple[Rule, ...], MinLen(1)]


def load(path: Path) -> tuple[Rule, ...]:
    """Read a word list. Raises WordListError with the file and the reason."""
    try:
        return WordList.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))).rules
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise WordListError(f"The word list {path} cannot be read: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        location = ".".join(str(part) for part in first["loc"])
        raise WordListError(f"The word list {path}: {location}: {first['msg']}") from error


def _has_term(text: str, terms: Sequence[str], pattern: re.Pattern[str]) -> bool:
    """Whether a text matches the pattern of some terms. Most texts have none of the terms, which is seen sooner."""
    for term in terms:
        if term in text:
            return pattern.search(text) is not None
    return False


def normalize(text: str) -> str:
    """Text in lower case without accents, invisible characters and look-alike letters; words separated by a space."""
    if text.isascii():
        text = text.lower()
    else:
        text = unicodedata.normalize("NFKD", text).casefold().translate(_LOOK_ALIKES)
        text = "".join(char for char in text if unicodedata.category(char) not in ("Mn", "Cf"))
        text = unicodedata.normalize("NFC", text)  # decomposed Hangul syllables
    text = _SPELLED_OUT.sub(lambda match: _NO_WORD.sub("", match[0]), text)
    return _NO_WORD.sub(" ", text).strip()


def readings(prompt: str) -> tuple[str, ...]:
    """The normalized prompt: as it is, with digits read as letters, and without spaces between CJK characters."""
    plain = normalize(prompt)
    forms = [plain]
    if (with_letters := prompt.translate(_DIGITS)) != prompt:
        forms.append(normalize(with_letters))
    if _CJK.search(plain):
        forms.append(plain.replace(" ", ""))
    return tuple(dict.fromkeys(forms))


def _pattern(terms: Sequence[str]) -> re.Pattern[str]:
    """Matches one of the terms: as whole words, with an English plural, or anywhere if it has CJK characters."""
    parts = []
    for term in terms:
        word = re.escape(normalize(term)).replace(r"\ ", " ")
        parts.append(word if _CJK.search(term) else rf"(?<!\w){word}(?:s|es)?(?!\w)")
    return re.compile("|".join(parts))


class Words:
    """The check `words`."""

    name = "words"
    judges_images = False

    def __init__(self, *paths: Path) -> None:
        """paths: word lists in addition to the shipped one. Raises WordListError."""
        self._rules = [rule for path in (SHIPPED, *paths) for rule in load(path)]

    def judge(self, contents: Sequence[Content]) -> Sequence[Sequence[str]]:
        """The categories of the rules that match each prompt."""
        return [self._categories(content.prompt) for content in contents]

    def _categories(self, prompt: str) -> list[str]:
        texts = readings(prompt)
        return sorted({rule.category for rule in self._rules if rule.matches(texts)})
