"""Prompts: strange ones never crash, and a notice says where one that is too long was cut."""

from pathlib import Path

import pytest

from core.generation import Notice
from tests.image_requests import with_changes

from .kinds import Artist, a_diffusers_generator, a_request
from .pipelines import a_tiny_flux, save_pipeline, warnings_of_diffusers

pytestmark = warnings_of_diffusers

STRANGE = {
    "empty": "",
    "spaces": "   \n\t ",
    "unknown words": "supercalifragilistic zyzzyva qwxrtz",
    "emoji": "🦊🌲🌲🚀 👩‍👩‍👧‍👦 ☃️",
    "3000 characters": "a red car on the beach, " * 125,
    "3000 characters of one word": "x" * 3000,
    "3000 Chinese characters": "一只猫" * 1000,
    "punctuation": "?!… —— ,.;:'\"()[]{}<>|\\/`~@#$%^&*_+=",
    "right to left": "قطة على العشب חתול על הדשא",
    "combining and control": "e\u0301\u0327 \u200b\u202e\x00\x07 a\ufeffb",
    "special tokens": "<|endoftext|> a cat <|startoftext|>",
    "private and astral": "\ue000 \U0010ffff 𠮷𠮷",
}


@pytest.mark.parametrize("prompt", STRANGE.values(), ids=STRANGE)
@pytest.mark.parametrize(
    "artist",
    [("fake", "text-to-image"), ("stable diffusion", "text-to-image"), ("unclip-mini", "text-to-image")],
    indirect=True,
    ids=" / ".join,
)
def test_no_prompt_is_too_strange_to_draw(artist: Artist, prompt: str) -> None:
    request = artist.request(prompt, steps=2)
    assert artist.draw(request)[0].any()
    assert artist.draw(with_changes(request, negative_prompt=prompt))[0].any()
    assert all(isinstance(notice, Notice) for notice in artist.generator.notices(request))


@pytest.mark.parametrize("artist", [("stable diffusion", "text-to-image")], indirect=True)
@pytest.mark.parametrize(
    ("prompt", "tokens", "last"),
    [  # a byte is a token
        ("a cat on the grass, and a dog by the sea", "30 of the 30", None),
        ("a cat on the grass, and a dog by the sea!", "30 of the 31", "…grass, and a dog by the sea"),
        ("x" * 40, "30 of the 40", "x" * 30),
        ("夜晚的城市里有一只猫夜", "30 of the 33", "夜晚的城市里有一只猫"),
    ],
)
def test_a_long_prompt_gives_a_notice_with_the_last_words_read(
    artist: Artist, prompt: str, tokens: str, last: str | None
) -> None:
    message = f"The model reads {tokens} tokens of prompt, up to “{last}”; it does not see the rest."
    notices = [] if last is None else [Notice("prompt_truncated", message, "prompt")]
    assert artist.generator.notices(artist.request(prompt)) == notices


@pytest.mark.parametrize(
    "artist",
    [("stable diffusion", "text-to-image"), ("karlo", "text-to-image"), ("unclip-mini", "text-to-image")],
    indirect=True,
    ids=" / ".join,
)
def test_every_field_that_is_cut_is_named_and_no_other(artist: Artist) -> None:
    long = "a small house by the sea " * 10
    first_request = artist.request("a cat")
    for prompt, negative_prompt, fields in (
        ("a cat", "a dog", []),
        (long, "a dog", ["prompt"]),
        ("a cat", long, ["negative_prompt"]),
        (long, long, ["prompt", "negative_prompt"]),
    ):
        request = with_changes(first_request, prompt=prompt, negative_prompt=negative_prompt)
        assert [notice.param for notice in artist.generator.notices(request)] == fields


def test_a_prompt_is_not_cut_while_one_text_encoder_reads_on(tmp_path: Path) -> None:
    # One byte is a token: CLIP reads 30 of them, the other encoder 510.
    generator = a_diffusers_generator(save_pipeline(a_tiny_flux(), tmp_path / "flux"))
    assert list(generator.notices(a_request("text-to-image", prompt="x" * 100))) == []
    (notice,) = generator.notices(a_request("text-to-image", prompt="x" * 600))
    assert notice.message.startswith("The model reads 510 of the 600 tokens of prompt, up to “…xxx")
