"""Parameters that only some pipelines have: each changes the image as it should, and is refused by name elsewhere."""

from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
from diffusers import DDIMScheduler
from transformers import CLIPTextModel

from core.catalog import Catalog
from core.errors import InvalidParameter
from core.generation import ImageRequest
from core.generation_errors import ContentPolicyViolation, GenerationError, ModelUnavailable
from core.parameters.hires import Hires
from core.parameters.job import ResolvedParameters
from core.requests.job import JobRequest
from core.requests.plan import microbatch_key, plan, resolve
from core.rows.job import JobRow
from core.settings import Settings
from tests.families.pipelines import pixart_sigma
from tests.image_requests import image_request, with_changes
from worker.generation.inputs import Inputs
from worker.generation.moderation import reject_inputs
from worker.moderation.moderator import Moderator
from worker.moderation.words import Words

from .kinds import RecordingReporter, a_diffusers_generator, a_model
from .pipelines import (
    SIDE_PX,
    _text_configuration,
    a_tiny_flux,
    a_tiny_sdxl,
    a_tiny_stable_diffusion,
    save_pipeline,
    warnings_of_diffusers,
)

pytestmark = warnings_of_diffusers

LONG = "a very long prompt, of which both text encoders read the start"


def a_request(**changes: Any) -> ImageRequest:
    return with_changes(image_request(LONG, side=SIDE_PX, seed=1, steps=2), **changes)


def layered_stable_diffusion(layers: int) -> Any:
    """Stable Diffusion with so many of three layers in its text encoder, and a scheduler that takes eta."""
    pipe: Any = a_tiny_stable_diffusion()
    configuration = _text_configuration(pipe.tokenizer)
    configuration.num_hidden_layers = 3
    encoder = CLIPTextModel(configuration)
    encoder.encoder.layers = encoder.encoder.layers[:layers]
    encoder.config.num_hidden_layers = layers
    pipe.text_encoder = encoder
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False, set_alpha_to_one=False)
    return pipe


Draw = Callable[..., bytes]


@pytest.fixture
def draw(request: pytest.FixtureRequest, tmp_path: Path) -> Draw:
    """Draws a request, with changes, on the pipeline of the parametrization."""
    make, parameters = request.param
    generator = a_diffusers_generator(
        save_pipeline(make(), tmp_path / "model"),
        parameters=parameters,
        choices={"scheduler": ["euler"]} if make is not a_tiny_flux else {},
    )
    return lambda **changes: generator.generate([a_request(**changes)], RecordingReporter())[0].tobytes()


def stable_diffusion() -> Any:
    return layered_stable_diffusion(3)


@pytest.mark.parametrize("draw", [(stable_diffusion, {"clip_skip": {"max": 2}})], indirect=True)
def test_a_skipped_layer_is_a_layer_less(draw: Draw, tmp_path: Path) -> None:
    shorter = a_diffusers_generator(save_pipeline(layered_stable_diffusion(2), tmp_path / "shorter"))
    # Without guidance: diffusers skips no layer for the negative prompt.
    (expected_image,) = shorter.generate([a_request(guidance_scale=1.0)], RecordingReporter())

    assert draw(clip_skip=1, guidance_scale=1.0) == expected_image.tobytes()
    assert draw() == draw(clip_skip=0)
    assert len({draw(clip_skip=layers) for layers in range(3)}) == 3


@pytest.mark.parametrize("draw", [(stable_diffusion, {"eta": {}})], indirect=True)
def test_eta_adds_noise_with_a_scheduler_that_takes_it_and_is_refused_with_others(draw: Draw) -> None:
    assert draw() == draw(eta=0.0)
    assert len({draw(eta=eta) for eta in (0.0, 0.5, 1.0)}) == 3
    with pytest.raises(GenerationError, match=r"no eta with this scheduler \(EulerDiscreteScheduler") as caught:
        draw(eta=0.5, scheduler="euler")
    assert caught.value.param == "eta"


@pytest.mark.parametrize("draw", [(a_tiny_sdxl, {"prompt_2": {}, "negative_prompt_2": {}})], indirect=True)
def test_the_second_text_encoder_reads_its_own_prompts(draw: Draw) -> None:
    assert draw() == draw(prompt_2=LONG) != draw(prompt_2="a dog")
    assert draw(prompt_2="") not in (draw(), draw(prompt_2="a dog"))
    both = draw(negative_prompt="rain")
    assert both == draw(negative_prompt="rain", negative_prompt_2="rain")
    assert len({draw(), both, draw(negative_prompt="rain", negative_prompt_2="snow")}) == 3
    assert draw(negative_prompt_2="snow") == draw(negative_prompt="", negative_prompt_2="snow") != draw()


@pytest.mark.parametrize("draw", [(a_tiny_flux, {"true_cfg_scale": {}, "max_sequence_length": {}})], indirect=True)
def test_a_distilled_model_is_guided_and_reads_as_many_tokens_as_it_should(draw: Draw) -> None:
    assert draw() == draw(true_cfg_scale=1.0)
    assert len({draw(true_cfg_scale=scale) for scale in (1.0, 2.0, 4.0)}) == 3  # without a negative prompt too
    assert draw(true_cfg_scale=4.0) != draw(true_cfg_scale=4.0, negative_prompt="rain")
    assert draw(negative_prompt="rain") == draw()
    assert draw(max_sequence_length=40) == draw(max_sequence_length=40, prompt=LONG[:-5] + "end!!")
    assert draw(max_sequence_length=64) != draw(max_sequence_length=64, prompt=LONG[:-5] + "end!!")


def test_a_truncated_second_prompt_is_named(tmp_path: Path) -> None:
    generator = a_diffusers_generator(save_pipeline(a_tiny_flux(), tmp_path / "flux"), parameters={"prompt_2": {}})

    def named(**changes: Any) -> list[str | None]:
        return [notice.param for notice in generator.notices(a_request(**changes))]

    assert named() == []
    assert named(prompt_2="a cat") == ["prompt"]
    assert named(prompt="a cat", prompt_2="x" * 600) == ["prompt_2"]


def test_a_prompt_that_is_longer_than_its_maximum_is_named(tmp_path: Path) -> None:
    generator = a_diffusers_generator(
        save_pipeline(pixart_sigma(), tmp_path / "pixart"), parameters={"max_sequence_length": {}}
    )
    assert list(generator.notices(a_request())) == []
    (notice,) = generator.notices(a_request(max_sequence_length=16))
    assert "reads 15 of the" in notice.message


def test_every_prompt_is_moderated() -> None:
    values: dict[str, Any] = {field.name: None for field in fields(JobRow) if field.default is MISSING}
    parameters = ResolvedParameters.load(
        {"size": "32x32", "steps": 1, "guidance_scale": 1.0, "seed": 1, "prompt_2": "a nude child"}
    )
    row: Any = JobRow(**values | {"id": "job_1", "prompt": "a cat", "parameters": parameters})
    (result,) = reject_inputs(Moderator([Words()]), [row], {"job_1": Inputs()}).values()
    assert isinstance(result, ContentPolicyViolation)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"true_cfg_scale": {}}, "takes no true_cfg_scale; remove it"),
        ({"eta": {}}, "none of its schedulers takes eta"),
        ({"clip_skip": {"max": 4}}, "allows a clip_skip of 4; its text encoder allows at most 0"),
    ],
)
def test_what_the_pipeline_cannot_honour_is_an_error_when_it_is_loaded(
    tiny: Path, parameters: dict[str, Any], says: str
) -> None:
    generator = a_diffusers_generator(tiny, parameters=parameters)
    with pytest.raises(ModelUnavailable, match=says):
        generator.load()
    assert generator._pipe is None, "its weights are still on the device"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"parameters": {"seed": {}}}, "'seed' is not one of prompt_2"),
        ({"parameters": {"clip_skip": {"max": 99}}}, "must lie within 0 and 24"),
        ({"parameters": {"clip_skip": {"min": 3, "max": 2}}}, "must lie within 0 and 24"),
        ({"parameters": {"clip_skip": {"default": 5, "max": 4}}}, "must lie between its min and max"),
        ({"parameters": {"clip_skip": {"default": 1.5}}}, "int"),
        ({"parameters": {"prompt_2": {"max": 4}}}, "is a text and has no bounds"),
        ({"parameters": {"eta": {}}, "generator": "fake"}, "eta is not available for fake"),
    ],
)
def test_a_catalogue_with_other_parameters_is_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        a_model(**fields)


def test_a_request_gets_what_the_catalogue_allows_and_nothing_else() -> None:
    rich = a_model(id="rich", parameters={"clip_skip": {"max": 4}, "true_cfg_scale": {"default": 4.0}, "prompt_2": {}})
    catalog = Catalog(default="rich", models=(rich, a_model(id="plain")))

    def planned(**fields: Any) -> Any:
        return plan(JobRequest(prompt="a cat", seed=1, **fields), catalog, Settings(), "proj")

    assert planned().parameters.true_cfg_scale == 4.0
    assert planned().parameters.clip_skip is None
    assert len({planned(clip_skip=layers).microbatch_key for layers in (None, 0, 1)}) == 3
    with pytest.raises(InvalidParameter, match="clip_skip is 5; the allowed range is 0 to 4"):
        planned(clip_skip=5)
    with pytest.raises(InvalidParameter, match="rich does not support eta: leave it out"):
        planned(eta=0.5)
    with pytest.raises(InvalidParameter, match="plain does not support prompt_2: leave it out"):
        planned(model="plain", prompt_2="a dog")
    with pytest.raises(InvalidParameter, match="prompt_2 has 4001 characters"):
        planned(prompt_2="x" * 4001)


@pytest.mark.parametrize(
    ("field", "value"), [("clip_skip", 1), ("scheduler", "ddim"), ("style", "vivid"), ("hires", Hires()), ("eta", 0.0)]
)
def test_a_retry_is_refused_if_its_model_has_lost_a_parameter(field: str, value: Any) -> None:
    plain = a_model(id="plain")
    catalog = Catalog(default="plain", models=(plain,))
    request = JobRequest(prompt="a cat", seed=1, **{field: value})

    for repeat in ({"retried_from": "job_1"}, {"is_repeat": True}):
        with pytest.raises(InvalidParameter, match=f"The job has {field}, which plain no longer supports") as error:
            plan(request, catalog, Settings(), "proj", **repeat)
        assert error.value.param == field
    parameters = resolve(JobRequest(prompt="a cat", seed=1), plain)
    with_value = parameters.model_copy(update={field: value})
    assert microbatch_key(plain, "generation", parameters) != microbatch_key(plain, "generation", with_value)
