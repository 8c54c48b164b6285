"""The pipeline on small random networks: conventions, round trip, independence of the batch, optional parts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from PIL import Image
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from worker.generators.unclip.conditioning import sample_prior, to_tensor
from worker.generators.unclip.networks import UnclipAutoencoder, UnclipDecoder
from worker.generators.unclip.original import free_cells
from worker.generators.unclip.pipeline import UnclipPipeline
from worker.generators.unclip.prior import UnclipPrior
from worker.generators.unclip.threads import ImageThreads
from worker.generators.unclip.upscaler import UnclipUpscaler

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
    rouse(decoder)
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
    for component in pipeline.components.values():
        if isinstance(component, torch.nn.Module):
            component.eval()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def rouse(network: torch.nn.Module) -> None:
    """Give a network random weights everywhere: its last layers start at zero, so it would have no effect."""
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)


@pytest.fixture
def full(pipe: UnclipPipeline) -> UnclipPipeline:
    """The same pipeline with its optional parts."""
    torch.manual_seed(1)
    prior = UnclipPrior(embedding=64, text_width=64, width=64, layers=1)
    prior.mean.uniform_(-1, 1)
    prior.scale.uniform_(1, 2)
    upscaler = UnclipUpscaler(channels=8, blocks=1)
    for part in (prior, upscaler):
        rouse(part)
    pipeline = UnclipPipeline(**pipe.components | {"prior": prior.eval(), "upscaler": upscaler.eval()})
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def a_photo(side: int = 128) -> Image.Image:
    return Image.radial_gradient("L").resize((side, side)).convert("RGB")


def seeds(*numbers: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(number) for number in numbers]


def generate(pipe: UnclipPipeline, prompts: list[str] | str, *numbers: int, **options: Any) -> np.ndarray[Any, Any]:
    pixels: np.ndarray[Any, Any] = pipe(
        prompts, generator=seeds(*numbers), num_inference_steps=3, output_type="np", return_dict=False, **options
    )[0]
    return pixels


def test_saved_and_loaded_it_draws_the_very_same(pipe: UnclipPipeline, tmp_path: Path) -> None:
    before = generate(pipe, ["cat"], 1)
    pipe.save_pretrained(tmp_path)
    loaded_pipe = UnclipPipeline.from_pretrained(tmp_path)
    loaded_pipe.set_progress_bar_config(disable=True)
    assert np.array_equal(generate(loaded_pipe, ["cat"], 1), before)


def test_saved_and_loaded_with_its_optional_parts_it_draws_the_very_same(full: UnclipPipeline, tmp_path: Path) -> None:
    before = generate(full, ["cat"], 1, height=256, width=256)
    full.save_pretrained(tmp_path)
    loaded_pipe = UnclipPipeline.from_pretrained(tmp_path)
    loaded_pipe.set_progress_bar_config(disable=True)
    assert np.array_equal(generate(loaded_pipe, ["cat"], 1, height=256, width=256), before)


def test_without_its_optional_parts_it_still_draws_from_a_text(pipe: UnclipPipeline, tmp_path: Path) -> None:
    UnclipPipeline(**pipe.components | {"image_encoder": None}).save_pretrained(tmp_path)
    reduced_pipe = UnclipPipeline.from_pretrained(tmp_path)
    reduced_pipe.set_progress_bar_config(disable=True)
    assert np.array_equal(generate(reduced_pipe, ["cat"], 1), generate(pipe, ["cat"], 1))
    assert "variation" in pipe.tasks
    assert "variation" not in reduced_pipe.tasks
    with pytest.raises(ValueError, match="image cannot be used for a variation"):
        reduced_pipe(image=a_photo())


def test_half_precision_files_load_to_single_precision(pipe: UnclipPipeline, tmp_path: Path) -> None:
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.half()
    pipe.save_pretrained(tmp_path)
    loaded_pipe = UnclipPipeline.from_pretrained(tmp_path)
    assert {part.dtype for part in (loaded_pipe.text_encoder, loaded_pipe.decoder, loaded_pipe.vae)} == {torch.float32}


def test_an_image_does_not_depend_on_its_neighbours(pipe: UnclipPipeline) -> None:
    together = generate(pipe, ["cat", "dog", "cow", "hen"], 1, 2, 3, 4)
    assert np.array_equal(together[2:3], generate(pipe, ["cow"], 3))


def test_seed_prompt_and_negative_prompt_all_matter(pipe: UnclipPipeline) -> None:
    first = generate(pipe, ["cat"], 1)
    assert not np.allclose(first, generate(pipe, ["cat"], 2))
    assert not np.array_equal(first, generate(pipe, ["dog"], 1))
    assert not np.array_equal(first, generate(pipe, ["cat"], 1, negative_prompt="dog"))


def test_an_image_embedding_has_an_effect_and_its_absence_is_the_default(pipe: UnclipPipeline) -> None:
    default = generate(pipe, ["cat"], 1)
    assert not np.array_equal(default, generate(pipe, ["cat"], 1, image_embeds=torch.randn(1, 64)))


def test_the_half_that_guidance_leads_away_from_knows_no_image(pipe: UnclipPipeline) -> None:
    has_image_flags = []
    pipe.decoder.register_forward_pre_hook(lambda module, inputs: has_image_flags.append(inputs[-1].tolist()))
    embeds = torch.randn(2, 64)
    generate(pipe, ["cat", "dog"], 1, 2, image_embeds=embeds)
    generate(pipe, ["cat", "dog"], 1, 2, image_embeds=embeds, guidance_scale=1.0)
    generate(pipe, ["cat", "dog"], 1, 2)
    # Two images of three steps each, which are computed one by one.
    assert has_image_flags[::6] == [[False, True], [True], [False, False]]


def test_a_prior_is_used_unless_it_is_declined(pipe: UnclipPipeline, full: UnclipPipeline) -> None:
    without_prior, with_prior = generate(pipe, ["cat"], 1), generate(full, ["cat"], 1)
    assert not np.array_equal(with_prior, without_prior)
    assert np.array_equal(generate(full, ["cat"], 1, use_prior=True), with_prior)
    assert np.array_equal(generate(full, ["cat"], 1, use_prior=False), without_prior)
    with pytest.raises(ValueError, match="use_prior"):
        generate(pipe, ["cat"], 1, use_prior=True)


def test_a_folder_says_whether_its_prior_is_used(full: UnclipPipeline, tmp_path: Path) -> None:
    declined = generate(full, ["cat"], 1, use_prior=False)
    full.register_to_config(prior_by_default=False)
    full.save_pretrained(tmp_path)
    loaded_pipe = UnclipPipeline.from_pretrained(tmp_path)
    loaded_pipe.set_progress_bar_config(disable=True)
    assert np.array_equal(generate(loaded_pipe, ["cat"], 1), declined)


def test_what_the_prior_imagines_belongs_to_one_image(full: UnclipPipeline) -> None:
    together = generate(full, ["cat", "dog", "cow"], 1, 2, 3, prior_guidance_scale=2.0)
    alone = generate(full, ["dog"], 2, prior_guidance_scale=2.0)
    assert np.array_equal(together[1:2], alone)
    assert not np.allclose(alone, generate(full, ["dog"], 2), atol=1e-4)


def test_a_prior_that_knows_the_answer_is_sampled_to_it(full: UnclipPipeline) -> None:
    """Whatever the noise, a prediction that never wavers is what the flow ends at, restored to CLIP's scale."""
    answer = torch.linspace(-1, 1, 64)
    with torch.no_grad():
        for parameter in full.prior.image_out.parameters():
            parameter.zero_()
        full.prior.image_out.bias.copy_(answer)
    text = full._encode_text(["cat", "dog"])
    embeds = sample_prior(full.prior, text, torch.randn(2, 64))
    restored_answer = answer / full.prior.scale + full.prior.mean
    assert torch.allclose(embeds, restored_answer.expand(2, 64), atol=1e-5)
    assert torch.allclose(full.prior.standardise(full.prior.restore(embeds)), embeds, atol=1e-5)


def test_the_prior_does_not_see_what_the_mask_hides(full: UnclipPipeline) -> None:
    text, noised, time = full._encode_text(["cat"]), torch.randn(1, 64), torch.tensor([0.5])
    padding = torch.where(text.mask[..., None], text.states, torch.randn_like(text.states))
    prediction = full.prior(noised, time, text.states, text.mask, text.embeds)
    assert torch.equal(full.prior(noised, time, padding, text.mask, text.embeds), prediction)


def test_an_untrained_upscaler_is_a_bilinear_enlargement() -> None:
    images = torch.rand(2, 3, 24, 40) * 2 - 1
    outputs = UnclipUpscaler()(images)
    bilinear = torch.nn.functional.interpolate(images, scale_factor=2, mode="bilinear", align_corners=False)
    assert torch.equal(outputs, bilinear)


@pytest.mark.parametrize("size", [128, 256, 512, 1024])
def test_an_upscaler_doubles_as_often_as_needed(full: UnclipPipeline, size: int) -> None:
    sides = []
    full.upscaler.register_forward_pre_hook(lambda module, inputs: sides.append(inputs[0].shape))
    images = generate(full, ["cat", "dog"], 1, 2, height=size, width=size)
    assert images.shape == (2, size, size, 3)
    doublings = [side for side in (128, 256, 512) if side < size]
    assert sides == [(1, 3, side, side) for _ in range(2) for side in doublings]  # one by one, for the memory's sake


@pytest.mark.parametrize("size", [128, 256, 512])
def test_images_come_in_the_size_asked_for(pipe: UnclipPipeline, size: int) -> None:
    assert generate(pipe, ["cat"], 1, height=size, width=size).shape == (1, size, size, 3)


def test_every_output_type_is_the_same_image(pipe: UnclipPipeline) -> None:
    array = generate(pipe, ["cat"], 1)
    tensor = pipe(["cat"], generator=seeds(1), num_inference_steps=3, output_type="pt", return_dict=False)[0]
    image = pipe(["cat"], generator=seeds(1), num_inference_steps=3, return_dict=False)[0][0]
    assert np.array_equal(tensor.permute(0, 2, 3, 1).numpy(), array)
    assert np.array_equal(np.asarray(image), (array[0] * 255).round().astype("uint8"))


def test_each_prompt_gets_as_many_images_as_asked_for(pipe: UnclipPipeline) -> None:
    images = pipe(["cat", "dog"], num_images_per_prompt=2, num_inference_steps=1, return_dict=False)[0]
    assert len(images) == 4


def test_a_variation_sees_the_image_as_training_did(pipe: UnclipPipeline) -> None:
    large = a_photo(256)
    exactly = to_tensor([large], 64)
    assert torch.equal(exactly, torch.from_numpy(np.array(large.reduce(4))).permute(2, 0, 1)[None].float() / 127.5 - 1)
    embeds = pipe._encode_images([large])
    variation = generate(pipe, "", 1, image=large)
    assert np.array_equal(variation, generate(pipe, "", 1, image_embeds=embeds))
    assert not np.array_equal(variation, generate(pipe, "", 2, image=large))
    assert not np.array_equal(variation, generate(pipe, "", 1, image=large.rotate(45)))
    assert not np.array_equal(variation, generate(pipe, "cat", 1, image=large))


def test_each_image_is_varied_with_a_seed_of_its_own(pipe: UnclipPipeline) -> None:
    first, second = a_photo(), a_photo().rotate(45)
    images = generate(pipe, "", 1, 2, image=[first, second])
    assert np.array_equal(images[1:2], generate(pipe, "", 2, image=second))


@pytest.mark.parametrize(("strength", "steps"), [(0.1, 1), (0.5, 5), (1.0, 10)])
def test_an_edit_takes_its_share_of_the_steps_from_its_share_of_the_noise(
    pipe: UnclipPipeline, strength: float, steps: int
) -> None:
    starts = []
    pipe.decoder.register_forward_pre_hook(lambda module, inputs: starts.append(float(inputs[1][0])))
    pipe("cat", image=a_photo(), strength=strength, num_inference_steps=10)
    shift = pipe.scheduler.config.shift
    assert len(starts) == pipe.num_timesteps == steps
    assert starts[0] == pytest.approx(shift * strength / (1 + (shift - 1) * strength))


def test_latents_outside_a_mask_end_as_the_original_s(pipe: UnclipPipeline) -> None:
    mask = Image.new("L", (128, 128))
    mask.putpixel((20, 70), 255)  # in the cell of column 2, row 8
    options: dict[str, Any] = {"image": a_photo(), "mask_image": mask, "strength": 1.0, "output_type": "latent"}
    latents = pipe("cat", generator=seeds(1), num_inference_steps=3, return_dict=False, **options)[0]
    original = ImageThreads().run(pipe.vae.encode, to_tensor([a_photo()], 128))
    difference = (latents - original).abs().amax(1)[0] > 1e-6
    assert difference.nonzero().tolist() == [[8, 2]]


@pytest.mark.parametrize("side", [16, 40, 128, 512])
def test_a_cell_is_free_where_any_of_its_pixels_is_white(side: int) -> None:
    mask = Image.new("L", (side, side))
    mask.putpixel((0, side - 1), 255)
    cells = free_cells([mask], 16)
    assert cells.shape == (1, 1, 16, 16)
    assert cells[0, 0, 15, 0]
    assert not cells[0, 0, :15].any()


def test_a_callback_sees_every_step_can_preview_and_can_stop(pipe: UnclipPipeline) -> None:
    previews = []

    def stop_at_once(pipe: UnclipPipeline, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        previews.append((step, pipe.preview(tensors["clean_latents"])[0].size))
        pipe._interrupt = step == 1
        return tensors

    inputs = ["latents", "clean_latents"]
    pipe(
        "cat",
        num_inference_steps=5,
        callback_on_step_end=stop_at_once,
        callback_on_step_end_tensor_inputs=inputs,
    )
    assert previews == [(0, (128, 128)), (1, (128, 128))]


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
        ({"strength": 0.5}, "image"),
        ({"image": a_photo(), "strength": 0.0}, "strength"),
        ({"image": a_photo(), "strength": 1.5}, "strength"),
        ({"image": a_photo(), "mask_image": a_photo()}, "mask_image"),
        ({"prompt": ["cat", "dog"], "image": [a_photo()]}, "image"),
    ],
)
def test_a_wrong_value_is_refused_by_name(pipe: UnclipPipeline, wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=field):
        pipe(**{"prompt": "cat", **wrong})
