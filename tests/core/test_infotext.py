"""Infotext: what AUTOMATIC1111's webui writes into PNG files, and the names of its samplers."""

from typing import Any

import pytest

from core.parameters.infotext import infotext, parse
from core.parameters.job import ResolvedParameters
from core.parameters.samplers import LABELS, label_of, scheduler_of

PARAMETERS: dict[str, Any] = {"size": "256x256", "steps": 20, "guidance_scale": 7.0, "seed": 1}


def text_of(prompt: str = "a cat", model: str = "m", operation: Any = "generation", **fields: Any) -> str:
    return infotext(prompt, model, operation, ResolvedParameters.load(PARAMETERS | fields))


def test_an_infotext_is_that_of_the_webui() -> None:
    head, pairs = "a cat\nNegative prompt: a dog", "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 300x200"

    text = text_of(negative_prompt="a dog", scheduler="euler_a", output_size="300x200")

    assert text.startswith(f"{head}\n{pairs}, Model: m, Version: Safelight ")


@pytest.mark.parametrize("prompt", ["a cat", "a cat, a dog: both", "two\nlines, with: colons, and: more", "一只猫", ""])
@pytest.mark.parametrize("negative", [None, "a dog", "a dog\nand more, Steps: 3"])
def test_an_infotext_is_read_as_it_was_written(prompt: str, negative: str | None) -> None:
    text = text_of(
        prompt, 'a/model, "of": mine', "edit", negative_prompt=negative, strength=0.4, postprocess={"upscale": 2}
    )

    fields = parse(text)

    assert (fields["Prompt"], fields["Negative prompt"]) == (prompt, negative or "")
    assert (fields["Steps"], fields["Sampler"], fields["Seed"]) == ("20", "Default", "1")
    assert (fields["Size-1"], fields["Size-2"]) == ("256", "256")
    assert (fields["Model"], fields["Denoising strength"]) == ('a/model, "of": mine', "0.4")
    assert fields["Postprocess upscale by"] == "2"


def test_clip_skip_counts_from_one() -> None:
    assert parse(text_of(clip_skip=1))["Clip skip"] == "2"
    assert "Clip skip" not in parse(text_of(clip_skip=0))


def test_a_text_without_parameters_is_a_prompt() -> None:
    assert parse("a cat, sitting: on a sofa") == {"Prompt": "a cat, sitting: on a sofa", "Negative prompt": ""}
    assert parse("") == {"Prompt": "", "Negative prompt": ""}


def test_half_a_character_of_a_hex_escape_is_replaced() -> None:
    fields = parse('a cat\nSteps: 2, Size: 64x64, Model: "a\\ud800:"')

    assert fields["Model"] == "a\ufffd:"


def test_every_sampler_of_the_catalogue_has_a_name_that_leads_back() -> None:
    for scheduler in LABELS:
        label = label_of(scheduler)
        assert scheduler_of(label.sampler, label.schedule) == scheduler
        assert scheduler_of(scheduler) == scheduler


@pytest.mark.parametrize(
    ("sampler", "schedule", "scheduler"),
    [
        ("DPM++ 2M Karras", "", "dpmpp_2m_karras"),
        ("dpm++ 2m", "karras", "dpmpp_2m_karras"),
        ("DPM++ 2M", "automatic", "dpmpp_2m"),
        ("k_euler_a", "Automatic", "euler_a"),
        ("Euler a", "Karras", None),
        ("Restart", "", None),
    ],
)
def test_samplers_of_the_webui_have_a_name_in_the_catalogue(sampler: str, schedule: str, scheduler: str | None) -> None:
    assert scheduler_of(sampler, schedule) == scheduler
