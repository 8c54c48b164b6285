"""The pipeline on small random networks: conventions, round trip, independence of the batch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from worker.generators.unclip.networks import UnclipAutoencoder, UnclipDecoder
from worker.generators.unclip.pipeline import UnclipPipeline

SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_attention_heads": 1,
    "num_hidden_layers": 1,
    "projection_dim": 64,
}


def letters() -> CLIPTokenizer:
    """A tokenizer of single letters."""
    names = [
        "<|startoftext|>",
        "<|endoftext|>",
        *(letter + end for letter in "abcdefghijklmnopqrstuvwxyz" for end in ("", "</w>")),
    ]
    vocabulary = {name: index for index, name in enumerate(names)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], pad_token="<|endoftext|>", model_max_length=16)  # a token of text


@pytest.fixture
def pipe() -> UnclipPipeline:
    torch.manual_seed(0)
    words = letters()
    decoder = UnclipDecoder(channels=32, width=64, layers=1, embedding=64, text_width=64)
    for parameter in decoder.parameters():  # the last layers start at zero and would draw nothing
        torch.nn.init.normal_(parameter, std=0.05)
    pipeline = UnclipPipeline(
        tokenizer=words,
        text_encoder=CLIPTextModelWithProjection(
            CLIPTextConfig(
                vocab_size=len(words),
                max_position_embeddings=16,
                bos_token_id=0,
                eos_token_id=1,
                pad_token_id=1,
                **SHAPE,
            )
        ),
        image_encoder=CLIPVisionModelWithProjection(CLIPVisionConfig(image_size=64, patch_size=8, **SHAPE)),
        decoder=decoder,
        vae=UnclipAutoencoder(encoder_channels=(16, 32), decoder_channels=(32, 16, 16)),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.5),
    )
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def seeds(*numbers: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(number) for number in numbers]


def drawn(pipe: UnclipPipeline, prompts: list[str], *numbers: int, **options: Any) -> np.ndarray[Any, Any]:
    pixels: np.ndarray[Any, Any] = pipe(
        prompts, generator=seeds(*numbers), num_inference_steps=3, output_type="np", return_dict=False, **options
    )[0]
    return pixels


def test_saved_and_loaded_it_draws_the_very_same(pipe: UnclipPipeline, tmp_path: Path) -> None:
    before = drawn(pipe, ["cat"], 1)
    pipe.save_pretrained(tmp_path)
    again = UnclipPipeline.from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    assert np.array_equal(drawn(again, ["cat"], 1), before)


def test_half_precision_files_load_to_single_precision(pipe: UnclipPipeline, tmp_path: Path) -> None:
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.half()
    pipe.save_pretrained(tmp_path)
    again = UnclipPipeline.from_pretrained(tmp_path)
    assert {part.dtype for part in (again.text_encoder, again.decoder, again.vae)} == {torch.float32}


def test_a_picture_does_not_depend_on_its_neighbours(pipe: UnclipPipeline) -> None:
    together = drawn(pipe, ["cat", "dog", "cow", "hen"], 1, 2, 3, 4)
    alone = drawn(pipe, ["cow"], 3)
    assert np.abs(together[2] - alone[0]).max() < 1e-4  # kernels differ with the batch size in the last bits only


def test_seed_prompt_and_negative_prompt_all_matter(pipe: UnclipPipeline) -> None:
    first = drawn(pipe, ["cat"], 1)
    assert not np.allclose(first, drawn(pipe, ["cat"], 2))
    assert not np.array_equal(first, drawn(pipe, ["dog"], 1))
    assert not np.array_equal(first, drawn(pipe, ["cat"], 1, negative_prompt="dog"))


def test_an_image_embedding_is_heard_and_its_absence_is_the_default(pipe: UnclipPipeline) -> None:
    plain = drawn(pipe, ["cat"], 1)
    assert not np.array_equal(plain, drawn(pipe, ["cat"], 1, image_embeds=torch.randn(1, 64)))


@pytest.mark.parametrize("size", [128, 256, 512])
def test_pictures_come_in_the_size_asked_for(pipe: UnclipPipeline, size: int) -> None:
    assert drawn(pipe, ["cat"], 1, height=size, width=size).shape == (1, size, size, 3)


def test_every_output_type_is_the_same_picture(pipe: UnclipPipeline) -> None:
    array = drawn(pipe, ["cat"], 1)
    tensor = pipe(["cat"], generator=seeds(1), num_inference_steps=3, output_type="pt", return_dict=False)[0]
    picture = pipe(["cat"], generator=seeds(1), num_inference_steps=3, return_dict=False)[0][0]
    assert np.array_equal(tensor.permute(0, 2, 3, 1).numpy(), array)
    assert np.array_equal(np.asarray(picture), (array[0] * 255).round().astype("uint8"))


def test_each_prompt_gets_as_many_pictures_as_asked_for(pipe: UnclipPipeline) -> None:
    pictures = pipe(["cat", "dog"], num_images_per_prompt=2, num_inference_steps=1, return_dict=False)[0]
    assert len(pictures) == 4


def test_a_callback_sees_every_step_can_preview_and_can_stop(pipe: UnclipPipeline) -> None:
    seen = []

    def stop_at_once(pipe: UnclipPipeline, step: int, timestep: Any, told: dict[str, Any]) -> dict[str, Any]:
        seen.append((step, pipe.preview(told["clean_latents"])[0].size))
        pipe._interrupt = step == 1
        return told

    inputs = ["latents", "clean_latents"]
    pipe(
        "cat",
        num_inference_steps=5,
        callback_on_step_end=stop_at_once,
        callback_on_step_end_tensor_inputs=inputs,
    )
    assert seen == [(0, (128, 128)), (1, (128, 128))]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"prompt": []}, "prompt"),
        ({"height": 100, "width": 100}, "height"),
        ({"height": 128, "width": 256}, "height"),
        ({"num_inference_steps": 0}, "num_inference_steps"),
        ({"generator": []}, "generator"),
        ({"output_type": "jpeg"}, "output_type"),
        ({"negative_prompt": ["a", "b"]}, "negative_prompt"),
        ({"latents": torch.zeros(1, 4, 16, 16)}, "latents"),
    ],
)
def test_a_wrong_value_is_refused_by_name(pipe: UnclipPipeline, wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=field):
        pipe(**{"prompt": "cat", **wrong})
