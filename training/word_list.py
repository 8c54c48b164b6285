"""Writes the list of the model's words, with which a worker names the words of a prompt that the model does not know.

`python -m training.word_list` writes `models/unclip-mini-words.json`. `known` are phrases that change the image or only
join others; `without_effect` are phrases that the model learned to hear past (small_talk.py).
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from training import small_talk, vocabulary
from training.captions import plural

PATH = Path(__file__).parents[1] / "models" / "unclip-mini-words.json"

_JOINTS = (
    "a/an/the/my/one/two/three/2/3/pair/couple/and/next to/with/beside/is/are/sitting/standing/small/tiny/little/of/in/"
    "on/at/over/under/by/to/from/near/background/image/picture/sofa/couch/red/blue/green/colour/color/the scene/"
    "一/两/二/三/2/3/个/张/幅/位/的/和/与/还有/有/在/上/里/中/下/前/，/小小的/很小的/小/是/图片/图/坐/躺/站"
)
_ADVERBS = ("playing", "in front of", "玩耍")


def build() -> dict[str, list[str]]:
    """The phrases, sorted, in lower case."""
    known = {*_JOINTS.split("/"), *_ADVERBS, *vocabulary.RGB, *vocabulary.CHINESE_COLOUR}
    for colour in vocabulary.CHINESE_COLOUR.values():
        known |= {colour, colour.removesuffix("色")}
    for thing in vocabulary.THINGS.values():
        english = (*thing.english, *thing.english_kin)
        known |= {*english, *map(plural, english), *thing.chinese, *thing.chinese_kin, thing.classifier}
    for table in (
        vocabulary.WHERE, vocabulary.WHERE_KIN, vocabulary.EMPTY, vocabulary.WHEN, vocabulary.TIME_OF_DAY,
        {"": vocabulary.FUTURISTIC_WHERE}, {"": vocabulary.FUTURISTIC_EMPTY},
    ):  # fmt: skip
        known |= _phrases(table)
    known |= {phrase.strip("：，:") for phrases in small_talk.FRAMES.values() for phrase in phrases}
    without_effect = {
        phrase
        for table in (small_talk.ADJECTIVES, small_talk.DOINGS, small_talk.STYLES)
        for phrases in table.values()
        for text in phrases
        for phrase in text.split(", ")
    }
    return {"known": _sorted(known), "without_effect": _sorted(without_effect - known)}


def _phrases(table: Mapping[str, Mapping[Any, Iterable[str]]]) -> set[str]:
    """The phrases of a table, those of Chinese also without the words for the place around them."""
    phrases = {
        phrase.replace("{}", "") for languages in table.values() for texts in languages.values() for phrase in texts
    }
    return phrases | {phrase.removeprefix("在").rstrip("上里中下") for phrase in phrases if not phrase.isascii()}


def _sorted(phrases: Iterable[str]) -> list[str]:
    return sorted({phrase.strip().lower() for phrase in phrases} - {""})


def write() -> None:
    """Write the file."""
    PATH.write_text(json.dumps(build(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
