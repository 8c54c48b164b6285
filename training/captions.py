"""Turns a scene into one of the many sentences that describe it, in English or Chinese.

Of what the vocabulary can say, a caption says nothing that the image does not show: sizes when small, numbers when
several, colours only when the art has them. Around that it may talk about anything (small_talk.py).
"""

from random import Random

from training import small_talk
from training.scenes import Scene
from training.vocabulary import (
    CHINESE_COLOUR,
    EMPTY,
    FUTURISTIC_EMPTY,
    FUTURISTIC_WHERE,
    OUTDOORS,
    THINGS,
    TIME_OF_DAY,
    WHEN,
    WHERE,
    WHERE_KIN,
    Language,
)

_NUMBERS: dict[Language, dict[int, tuple[str, ...]]] = {
    "en": {2: ("two", "two", "2", "a pair of", "a couple of"), 3: ("three", "three", "3")},
    "zh": {2: ("两", "两", "2", "二"), 3: ("三", "三", "3")},
}
_IRREGULAR = {
    "mouse": "mice", "fish": "fish", "goldfish": "goldfish", "wolf": "wolves", "snowman": "snowmen", "ox": "oxen",
    "calf": "calves", "squid": "squid", "aircraft": "aircraft", "spacecraft": "spacecraft",
}  # fmt: skip


def caption(scene: Scene, random: Random, language: Language, *, complete: bool = False) -> str:
    """Write one sentence; the same scene gives another with another `random`.

    A complete one, made for measuring, says where and when and uses no kin and no nonsense.
    """
    when = random.choice(WHEN[scene.time][language]) if scene.place in OUTDOORS else ""
    if not scene.objects:
        sentence = _empty(scene, random, language, when)
    elif not complete and random.random() < (0.5 if scene.place == "plain" else 0.05):
        sentence = _subject(scene, random, language)  # "a cat" alone: mostly the plain background
    else:
        write = _english if language == "en" else _chinese
        sentence = write(scene, random, when, complete)
    return _dress(sentence, random, language, complete)


def _dress(sentence: str, random: Random, language: Language, complete: bool) -> str:
    """Frame, style, capital letter and full stop, each now and then."""
    comma, stop = (", ", ".") if language == "en" else ("，", "。")
    if not complete and random.random() < 0.06:
        word = small_talk.nonsense(random, language)
        sentence = random.choice((f"{sentence} {word}", f"{word} {sentence}", sentence + comma + word))
    if random.random() < 0.1:
        sentence += comma + small_talk.style(random, language)
    if random.random() < 0.12:
        sentence = small_talk.frame(random, language) + sentence
    if language == "en" and random.random() < 0.5:
        sentence = sentence[0].upper() + sentence[1:]
    return sentence + stop if random.random() < 0.4 else sentence


def _empty(scene: Scene, random: Random, language: Language, when: str) -> str:
    phrase = random.choice(FUTURISTIC_EMPTY[language] if scene.futuristic else EMPTY[scene.place][language])
    if scene.place == "sofa" and scene.colour and random.random() < 0.5:
        phrase = f"a {scene.colour} sofa" if language == "en" else CHINESE_COLOUR[scene.colour] + "的沙发"
    if not when:
        return phrase
    if scene.time in TIME_OF_DAY and random.random() < 0.4:
        noun = random.choice(TIME_OF_DAY[scene.time][language])
        if language == "zh":
            return random.choice((f"{phrase}的{noun}", f"{phrase}，{noun}", noun + phrase, f"{noun}中的{phrase}"))
        name = phrase.removeprefix("the ").removeprefix("an ").removeprefix("a ")
        return random.choice((f"{noun} over {phrase}", f"{phrase}, {noun}", f"a {noun} {name}", f"{noun} in {phrase}"))
    if language == "en":
        return random.choice((f"{phrase} {when}", f"{phrase} {when}", f"{when}, {phrase}"))
    return random.choice((f"{when}的{phrase}", when + phrase, f"{phrase}，{when}"))


def _where(scene: Scene, random: Random, language: Language, complete: bool) -> str:
    if scene.futuristic:
        return random.choice(FUTURISTIC_WHERE[language])
    if scene.place == "sofa" and scene.colour and random.random() < 0.4:
        sofa = random.choice(("sofa", "couch"))
        return f"on a {scene.colour} {sofa}" if language == "en" else f"在{CHINESE_COLOUR[scene.colour]}的沙发上"
    kin = scene.place in WHERE_KIN and not complete and random.random() < 0.2
    phrase = random.choice((WHERE_KIN if kin else WHERE)[scene.place][language])
    if scene.place == "plain" and scene.colour:
        return phrase.format(scene.colour if language == "en" else CHINESE_COLOUR[scene.colour])
    return phrase


def _subject(scene: Scene, random: Random, language: Language, *, complete: bool = False) -> str:
    """What the image shows: "a cat", "a cat and a small dog", "three cats"."""
    names = scene.objects
    if len(names) > 1 and len(set(names)) == 1:
        return _several(names[0], len(names), random, language)
    nouns = [_noun(name, scene.small, random, language, complete) for name in names]
    joint = (" and ", " and ", " next to ", " with ", " beside ") if language == "en" else ("和", "与", "和", "还有")
    return random.choice(joint).join(nouns)


def _several(name: str, count: int, random: Random, language: Language) -> str:
    thing = THINGS[name]
    number = random.choice(_NUMBERS[language][count])
    praise = small_talk.adjective(random, language) if random.random() < 0.15 else ""
    if language == "en":
        return " ".join(filter(None, (number, praise, plural(random.choice(thing.english)))))
    classifier = thing.classifier if random.random() < 0.8 else "个"
    return number + classifier + praise + random.choice(thing.chinese)


def plural(noun: str) -> str:
    """The English plural of a noun of the vocabulary."""
    if noun in _IRREGULAR:
        return _IRREGULAR[noun]
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")


def _noun(name: str, small: bool, random: Random, language: Language, complete: bool) -> str:
    thing = THINGS[name]
    coloured = thing.colour if thing.colour and random.random() < 0.12 else None
    praise = small_talk.adjective(random, language) if random.random() < 0.25 else ""
    kin = thing.english_kin if language == "en" else thing.chinese_kin
    words = thing.english if language == "en" else thing.chinese
    word = random.choice(kin if kin and not complete and random.random() < 0.12 else words)
    if language == "zh":
        count = "一" + (thing.classifier if random.random() < 0.8 else "个") if random.random() < 0.85 else ""
        size = random.choice(("小小的", "很小的")) if small else ""
        doing = small_talk.doing(random, language) if random.random() < 0.06 else ""
        colour = CHINESE_COLOUR[coloured] + random.choice(("的", "")) if coloured else ""
        return count + size + doing + praise + colour + word
    size = random.choice(("small", "tiny", "little")) if small else ""
    phrase = " ".join(filter(None, (size, praise, coloured, word)))
    chance = random.random()
    if chance < 0.08:
        return phrase
    if chance < 0.14:
        return random.choice(("the ", "my ", "one ")) + phrase
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def _english(scene: Scene, random: Random, when: str, complete: bool) -> str:
    subject, where = _subject(scene, random, "en", complete=complete), _where(scene, random, "en", complete)
    if random.random() < 0.1:
        subject += " " + small_talk.doing(random, "en")
    chance = random.random()
    if chance < 0.07:
        return ", ".join(filter(None, (where, subject, when)))
    if chance < 0.12 and when:
        return f"{subject} {when} {where}"
    if chance < 0.2:
        return ", ".join(filter(None, (subject, where, when)))
    if chance < 0.24 and scene.place in EMPTY and not scene.futuristic:
        return f"{random.choice(EMPTY[scene.place]['en'])} {when} with {subject}".replace("  ", " ")
    verb = ""
    if scene.place != "plain" and not where.split()[0].endswith("ing"):
        verbs = (
            ("", "", "", "is ", "sitting ", "standing ") if len(scene.objects) == 1 else ("", "", "are ", "sitting ")
        )
        verb = random.choice(verbs)
    if when and random.random() < 0.15:
        return f"{when} {subject} {verb}{where}"
    return f"{subject} {verb}{where}" + (f" {when}" if when else "")


def _chinese(scene: Scene, random: Random, when: str, complete: bool) -> str:
    subject, where = _subject(scene, random, "zh", complete=complete), _where(scene, random, "zh", complete)
    chance = random.random()
    if not where.startswith("在"):
        sentence = f"{subject}，{where}"
    elif where[-1] in "上里中" and len(scene.objects) == 1 and chance < 0.2:
        sentence = f"{where}的{subject}"
    elif chance < 0.32 and where.startswith("在") and not where.endswith("玩耍"):
        sentence = where.removeprefix("在") + random.choice(("有", "，")) + subject
    elif chance < 0.4 and when:
        return subject + when + where
    else:
        sentence = subject + where
    if not when:
        return sentence
    return when + random.choice(("，", "", "的")) + sentence if random.random() < 0.6 else f"{sentence}，{when}"
