"""Every family of diffusers draws, reports its steps, stops, tells broken numbers, and is the same in a batch."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.generation_errors import GenerationError, ModelUnavailable
from core.parameters.job import SEEDS
from tests.contract.kinds import RecordingReporter, a_diffusers_generator, a_request
from tests.contract.pipelines import SIDE_PX, a_tiny_flux, save_pipeline, warnings_of_diffusers
from tests.image_requests import with_changes

from .edits import flux_redux
from .letters import bria
from .matrix import FAMILIES, LARGEST_DIFFERENCE, Drawing, measure
from .pipelines import kontext
from .vision import qwen_image_layered

pytestmark = [
    warnings_of_diffusers,
    pytest.mark.filterwarnings("ignore:`FluxPosEmbed` is deprecated:FutureWarning"),  # of Chroma
    pytest.mark.filterwarnings("ignore:`LoraLoaderMixin` is deprecated:FutureWarning"),  # of PRX
    # Kandinsky 2.2 combines two pipelines, and calls the second with an old argument.
    pytest.mark.filterwarnings("ignore:`callback_steps` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:`callback` is deprecated:FutureWarning"),
]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if family.in_gate else pytest.mark.slow) for name, family in FAMILIES.items()],
)
def test_a_family_does_what_a_job_may_ask_for(name: str, tmp_path: Path) -> None:
    assert measure(name, tmp_path / "model").difference <= LARGEST_DIFFERENCE


PROMPTS = st.sampled_from(["", "a cat", "a red car", "夜晚的城市"]) | st.text(max_size=60)


@pytest.mark.parametrize(
    ("name", "examples"),
    [
        ("Stable Diffusion XL", 2),
        *(
            pytest.param(name, 1 if family.side > 128 else 10, marks=pytest.mark.slow)
            for name, family in FAMILIES.items()
        ),
    ],
)
def test_no_request_changes_the_image_of_another(name: str, examples: int, tmp_path: Path) -> None:
    drawing = Drawing(name, tmp_path / "model")
    takes_negative_prompts = drawing.takes_negative_prompts()
    request = st.fixed_dictionaries(
        {
            "prompt": PROMPTS.filter(str.strip),  # the API refuses an empty one
            "seed": st.integers(0, SEEDS - 1),
            "negative_prompt": st.none() | PROMPTS if takes_negative_prompts else st.none(),
        }
    )

    @settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    @given(st.lists(request, min_size=2, max_size=3))
    def check(changes: list[dict[str, Any]]) -> None:
        requests = [drawing.request(steps=2, **change) for change in changes]
        assert drawing.compare(requests) <= LARGEST_DIFFERENCE

    check()


def test_a_model_names_the_package_that_it_needs(tmp_path: Path) -> None:
    folder = save_pipeline(bria(), tmp_path / "model")
    index = json.loads((folder / "model_index.json").read_text()) | {"_class_name": "OmniGenPipeline"}
    for name in ("text_encoder", "image_encoder", "feature_extractor"):
        del index[name]
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ModelUnavailable, match="under-test needs the package torchvision, which is not installed here"):
        a_diffusers_generator(folder).load()


@pytest.mark.parametrize(
    ("make", "changes", "message"),
    [
        (qwen_image_layered, {"operations": ["edit"]}, "QwenImageLayeredPipeline gives several layers for an image"),
        (kontext, {"max_input_images": 2}, "max_input_images must be 1, because FluxKontextPipeline takes one image"),
        (flux_redux, {"operations": ["variation"]}, "FluxPriorReduxPipeline has no denoiser"),
    ],
)
def test_what_a_family_cannot_do_is_refused_by_name(
    make: Callable[[], Any], changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    generator = a_diffusers_generator(save_pipeline(make(), tmp_path / "model"), **changes)
    with pytest.raises(ModelUnavailable, match=message):
        generator.load()


def test_a_deterministic_request_shares_no_call(tmp_path: Path) -> None:
    drawing = Drawing("Stable Diffusion XL", tmp_path / "model")
    assert drawing.generator.sharing_key(drawing.request()) is not None
    assert drawing.generator.sharing_key(drawing.request(deterministic=True)) is None


def test_kontext_draws_the_size_of_the_request_with_an_image_and_without(tmp_path: Path) -> None:
    generator = a_diffusers_generator(save_pipeline(kontext(), tmp_path / "model"), operations=["generation", "edit"])
    for task in ("text-to-image", "image-to-image"):
        request = with_changes(a_request(task, SIDE_PX, steps=1), size="48x32", strength=None)
        (image,) = generator.generate([request], RecordingReporter())
        assert image.size == (48, 32)


def test_a_size_that_flux_would_round_is_refused_before_the_first_step(tmp_path: Path) -> None:
    generator = a_diffusers_generator(save_pipeline(a_tiny_flux(), tmp_path / "model"))
    reporter = RecordingReporter()
    with pytest.raises(GenerationError, match="both sides must be multiples of 4") as caught:
        generator.generate([a_request("text-to-image", 33)], reporter)
    assert (reporter.steps, caught.value.param) == ([], "size")
