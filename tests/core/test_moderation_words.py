"""The word list catches disguises, and leaves ordinary prompts alone."""

from pathlib import Path

import pytest

from core.moderation import Content
from core.settings import Settings
from worker.moderation.hook import HookError, load
from worker.moderation.moderator import Moderator
from worker.moderation.words import WordListError, Words
from worker.moderation.words import load as load_words

LIST = """
[[rules]]
category = "violence"
all_of = [["gore", "severed head", "血腥"]]
[[rules]]
category = "brand"
all_of = [["acme"], ["logo", "trademark"]]
"""


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Words:
    path = tmp_path_factory.mktemp("words") / "words.toml"
    path.write_text(LIST)
    return Words(path)


def categories(words: Words, prompt: str) -> list[str]:
    return list(words.judge([Content("prompt", prompt, "job_1", "proj_1", "fake")])[0])


@pytest.mark.parametrize(
    "prompt",
    [
        "gore", "GORE!", "much_gore_here", "ｇｏｒｅ", "g.o.r.e", "g o r e", "g-o-r-e", "górè", "g0re", "gor3",
        "go\u200bre",
        "gоrе",  # Cyrillic о and е
        "two severed   heads", "severed-head", "很血腥的画面", "血 腥", "血.腥",
    ],
)  # fmt: skip
def test_a_term_is_caught_in_disguise(words: Words, prompt: str) -> None:
    assert categories(words, prompt) == ["violence"]


@pytest.mark.parametrize(
    "prompt",
    [
        "a gorge", "Gorey's drawings", "the category of things", "a head", "a logo", "acme", "an acmeist logo", "",
        "猫",
        "a naked tree in winter", "children playing in a garden", "a nude statue by Rodin", "a teenage robot",
        "a baby elephant", "穿裙子的女孩在草地上", "Essex and Sussex, with kids", "a sextant beside a child's drawing",
    ],
)  # fmt: skip
def test_ordinary_prompts_pass(words: Words, prompt: str) -> None:
    assert categories(words, prompt) == []


@pytest.mark.parametrize("prompt", ["_" * 4000 + "ab", "a_" * 2000 + "bc", "a. " * 1300 + "bc", ". " * 2000])
def test_no_prompt_is_read_for_long(words: Words, prompt: str) -> None:
    """A pattern with two readings of one character would never end here."""
    assert categories(words, prompt) == []


def test_a_rule_needs_a_term_of_each_list(words: Words) -> None:
    assert categories(words, "the logos of Acme") == ["brand"]


@pytest.mark.parametrize("content", ["rules = 1", "[[rules]]\ncategory = 'a'\nall_of = []", "x", "[[rules]]\ntypo = 1"])
def test_a_wrong_list_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(content)
    with pytest.raises(WordListError, match=r"mine\.toml"):
        load_words(path)


def test_a_hook_is_a_function_of_the_operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "studio_rules.py").write_text(
        "def moderate(content):\n    return ['crowd'] if 'crowd' in content.prompt else None\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    moderator = Moderator.open(Settings(moderation="hook", moderation_hook="studio_rules:moderate"))
    contents = [Content("prompt", prompt, "job_1", "proj_1", "fake") for prompt in ("a crowd", "a cat")]

    violations = moderator.judge(contents)

    assert violations[0] is not None
    assert violations[0].verdict is not None
    assert violations[0].verdict.categories == ["crowd"]
    assert violations[1] is None


@pytest.mark.parametrize("target", ["nowhere:moderate", "json:nothing", "json", "json:__name__"])
def test_a_hook_that_cannot_be_used_is_named(target: str) -> None:
    with pytest.raises(HookError, match=target):
        load(target)
