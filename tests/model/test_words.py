"""The words that the bundled model does not know are named, in English and Chinese."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.catalog import load_catalog
from core.generation_errors import ModelUnavailable
from core.settings import Settings
from training import word_list
from worker.generators.words import MAX_NAMED, Words

WORDS = Words.load(word_list.PATH)


@pytest.mark.parametrize(
    ("prompt", "unknown"),
    [
        ("portrait of a woman, oil painting, 4k", ["portrait", "woman", "oil painting", "4k"]),
        ("A cat on the grass at night.", []),
        ("Two kittens sitting on a sofa, in the living room", []),
        ("please draw three polar bears in a futuristic city", []),
        ("a fluffy cat's house", ["fluffy"]),
        ("seven cats & 7 dogs", ["seven", "7"]),
        ("кот на траве", ["кот", "на", "траве"]),
        ("一只猫在草地上", []),
        ("夜晚，两只小狗在沙滩上", []),
        ("一张女人的肖像，油画，高清", ["女人", "肖像", "油画", "高清"]),
        ("请画一辆红色的汽车在城市里", []),
        ("a cat 和 钢琴 dog", ["钢琴"]),
        ("", []),
        ("!!! ... 🐱", []),
    ],
)
def test_the_unknown_words_of_a_prompt_are_named(prompt: str, unknown: list[str]) -> None:
    assert list(WORDS.list_unknown(prompt)) == unknown


def test_a_notice_names_a_few_words_and_counts_the_others() -> None:
    words = [f"qx{'abcdefghijklmn'[number]}" for number in range(MAX_NAMED + 3)]
    notice = WORDS.notice(" ".join(words * 2), "prompt")

    assert notice is not None
    assert (notice.code, notice.param) == ("unknown_words", "prompt")
    assert "“qxa”" in notice.message
    assert notice.message.endswith("“qxj” and 3 more.")


@given(st.text())
def test_any_prompt_is_read(prompt: str) -> None:
    notice = WORDS.notice(prompt, "prompt")
    assert notice is None or len(notice.message) < 1000


def test_the_file_is_that_of_the_training_and_the_catalogue_names_it() -> None:
    assert json.loads(word_list.PATH.read_text(encoding="utf-8")) == word_list.build()
    settings = Settings()
    model = load_catalog(settings.catalog_path).model("unclip-mini")
    assert settings.models_dir / model.words == word_list.PATH


def test_a_missing_file_is_an_error_of_the_model(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable):
        Words.load(tmp_path / "words.json")
