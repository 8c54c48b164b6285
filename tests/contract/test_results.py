"""What a pipeline returns: broken numbers and a rejected image are errors of their image, a black image is an image."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessor

from core.generation import ImagesRejected
from core.generation_errors import ContentPolicyViolation, GenerationError, GeneratorFailed

from .kinds import RecordingReporter, a_diffusers_generator, a_request
from .pipelines import a_tiny_stable_diffusion, save_pipeline, warnings_of_diffusers

pytestmark = warnings_of_diffusers

REQUESTS = [a_request("text-to-image", seed=seed) for seed in (1, 2)]


@contextmanager
def a_decoder_that_returns(generator: Any, values: Sequence[float | None]) -> Iterator[None]:
    """Set every pixel of image i to `values[i]`, as an overflow in the last layer does; None changes nothing."""

    def overwrite(module: torch.nn.Module, arguments: Any, output: torch.Tensor) -> torch.Tensor:
        for pixels, value in zip(output, values, strict=True):
            if value is not None:
                pixels.fill_(value)
        return output

    handle = generator._pipe.vae.decoder.conv_out.register_forward_hook(overwrite)
    yield
    handle.remove()


def results(generator: Any) -> list[Image.Image | GenerationError]:
    with pytest.raises(ImagesRejected) as caught:
        generator.generate(REQUESTS, RecordingReporter(looks=True))
    return list(caught.value.results)


@pytest.fixture(scope="module")
def plain(tiny: Path) -> Any:
    generator = a_diffusers_generator(tiny)
    generator.load()
    return generator


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_an_image_of_broken_numbers_is_an_error_and_its_neighbour_is_not(plain: Any, value: float) -> None:
    expected = plain.generate(REQUESTS, RecordingReporter())[1]
    with a_decoder_that_returns(plain, [value, None]):
        broken, whole = results(plain)
    assert isinstance(broken, GeneratorFailed)
    assert "NaN" in broken.message
    assert broken.retryable
    assert whole == expected


def test_a_black_image_of_finite_numbers_is_an_image(plain: Any) -> None:
    with a_decoder_that_returns(plain, [-1.0, -1.0]):
        images = plain.generate(REQUESTS, RecordingReporter())
    assert [image.getextrema() for image in images] == [((0, 0),) * 3] * 2


def test_a_broken_preview_does_not_spoil_the_image(plain: Any) -> None:
    def overflow(module: torch.nn.Module, arguments: Any, output: torch.Tensor) -> torch.Tensor:
        return output if len(reporter.previews) == 3 else output * float("nan")

    reporter = RecordingReporter(looks=True)
    handle = plain._pipe.vae.decoder.conv_out.register_forward_hook(overflow)
    assert len(plain.generate(REQUESTS, reporter)) == 2
    handle.remove()


def test_an_image_that_the_pipelines_safety_checker_rejects_is_a_content_policy_violation(tmp_path: Path) -> None:
    pipe = a_tiny_stable_diffusion()
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    checker = StableDiffusionSafetyChecker(
        CLIPConfig(vision_config=sizes | {"image_size": 16, "patch_size": 8}, projection_dim=16)
    )
    processor = CLIPImageProcessor(crop_size={"height": 16, "width": 16}, size={"shortest_edge": 16}, resample=3)
    pipe.register_modules(safety_checker=checker, feature_extractor=processor)
    generator = a_diffusers_generator(save_pipeline(pipe, tmp_path / "checked"))
    allowed = generator.generate(REQUESTS, RecordingReporter())
    checker = generator._pipe.safety_checker
    embeddings: list[torch.Tensor] = []
    handle = checker.visual_projection.register_forward_hook(lambda *call: embeddings.append(call[2]))
    generator.generate(REQUESTS, RecordingReporter())
    handle.remove()
    with torch.no_grad():  # the first image is the concept that is rejected
        checker.concept_embeds[:] = embeddings[0][0]
        similarity = torch.nn.functional.cosine_similarity(embeddings[0][0], embeddings[0][1], dim=0)
        checker.concept_embeds_weights.fill_((float(similarity) + 1) / 2)

    rejected, other = results(generator)

    assert isinstance(rejected, ContentPolicyViolation)
    assert not rejected.retryable
    assert other == allowed[1]
