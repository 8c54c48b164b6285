"""Turns a scene into one of the many sentences that describe it, in English or Chinese.

A caption never says what the picture does not show: sizes are said when small, colours only when the art has them.
"""

from random import Random

from training.scenes import Scene
from training.vocabulary import (
    CHINESE_COLOUR,
    EMPTY,
    FUTURISTIC_EMPTY,
    FUTURISTIC_WHERE,
    OUTDOORS,
    THINGS,
    WHEN,
    WHERE,
    Language,
)

_PRAISE: dict[Language, tuple[str, ...]] = {
    "en": ("cute", "lovely", "adorable", "happy", "beautiful"),
    "zh": ("可爱的", "漂亮的", "快乐的"),
}
_FRAME: dict[Language, tuple[str, ...]] = {
    "en": ("a picture of ", "an illustration of ", "a drawing of ", "a photo of ", "draw "),
    "zh": ("一张图片：", "画一张", "一幅画，", "画"),
}


def caption(scene: Scene, random: Random, language: Language, *, complete: bool = False) -> str:
    """Write one sentence; the same scene gives another with another `random`. A complete one names the place."""
    when = random.choice(WHEN[scene.time][language]) if scene.place in OUTDOORS else ""
    if not scene.objects:
        sentence = _empty(scene, random, language, when)
    elif len(scene.objects) == 1 and not complete and random.random() < 0.05:
        sentence = _noun(scene, 0, random, language)  # "a cat" alone: any place will do
    else:
        sentence = (_english if language == "en" else _chinese)(scene, random, when)
    if random.random() < 0.12:
        sentence = random.choice(_FRAME[language]) + sentence
    if language == "en" and random.random() < 0.5:
        sentence = sentence[0].upper() + sentence[1:]
    if random.random() < 0.4:
        sentence += "." if language == "en" else "。"
    return sentence


def _empty(scene: Scene, random: Random, language: Language, when: str) -> str:
    phrase = random.choice(FUTURISTIC_EMPTY[language] if scene.futuristic else EMPTY[scene.place][language])
    if scene.place == "sofa" and scene.colour and random.random() < 0.5:
        phrase = f"a {scene.colour} sofa" if language == "en" else CHINESE_COLOUR[scene.colour] + "的沙发"
    if not when:
        return phrase
    return f"{phrase} {when}" if language == "en" else random.choice((f"{when}的{phrase}", when + phrase))


def _where(scene: Scene, random: Random, language: Language) -> str:
    if scene.futuristic:
        return random.choice(FUTURISTIC_WHERE[language])
    if scene.place == "sofa" and scene.colour and random.random() < 0.4:
        sofa = random.choice(("sofa", "couch"))
        return f"on a {scene.colour} {sofa}" if language == "en" else f"在{CHINESE_COLOUR[scene.colour]}的沙发上"
    phrase = random.choice(WHERE[scene.place][language])
    if scene.place == "plain" and scene.colour:
        return phrase.format(scene.colour if language == "en" else CHINESE_COLOUR[scene.colour])
    return phrase


def _noun(scene: Scene, index: int, random: Random, language: Language) -> str:
    thing = THINGS[scene.objects[index]]
    coloured = thing.colour if thing.colour and random.random() < 0.12 else None
    praise = random.choice(_PRAISE[language]) if random.random() < 0.15 else ""
    if language == "en":
        size = random.choice(("small", "tiny", "little")) if scene.small else ""
        phrase = " ".join(filter(None, (size, praise, coloured, random.choice(thing.english))))
        article = "" if random.random() < 0.06 else random.choice(("the ", "my ")) if random.random() < 0.06 else None
        return phrase if article == "" else (article or ("an " if phrase[0] in "aeiou" else "a ")) + phrase
    count = "一" + (thing.classifier if random.random() < 0.8 else "个") if random.random() < 0.85 else ""
    size = random.choice(("小小的", "很小的")) if scene.small else ""
    colour = CHINESE_COLOUR[coloured] + random.choice(("的", "")) if coloured else ""
    return count + size + praise + colour + random.choice(thing.chinese)


def _english(scene: Scene, random: Random, when: str) -> str:
    subject = _noun(scene, 0, random, "en")
    if len(scene.objects) == 2:
        subject += random.choice((" and ", " next to ", " with ")) + _noun(scene, 1, random, "en")
    where = _where(scene, random, "en")
    verb = ""
    if scene.place != "plain" and not where.split()[0].endswith("ing"):
        verb = random.choice(("", "", "", "is ", "sitting ", "standing "))
    if when and random.random() < 0.15:
        return f"{when} {subject} {verb}{where}"
    return f"{subject} {verb}{where}" + (f" {when}" if when else "")


def _chinese(scene: Scene, random: Random, when: str) -> str:
    subject = _noun(scene, 0, random, "zh")
    if len(scene.objects) == 2:
        subject += random.choice(("和", "与")) + _noun(scene, 1, random, "zh")
    where = _where(scene, random, "zh")
    if not where.startswith("在"):
        sentence = f"{subject}，{where}"
    elif where[-1] in "上里中" and len(scene.objects) == 1 and random.random() < 0.25:
        sentence = f"{where}的{subject}"
    else:
        sentence = subject + where
    if not when:
        return sentence
    return when + random.choice(("，", "", "")) + sentence if random.random() < 0.6 else f"{sentence}，{when}"
