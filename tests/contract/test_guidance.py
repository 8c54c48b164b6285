"""Guidance: its scale changes the image or is told, and so is a negative prompt without effect."""

from pathlib import Path
from typing import Any

import pytest

from tests.families.chat import qwen_image
from tests.image_requests import image_request, with_changes
from worker.generators.denoiser import denoisers

from .kinds import RecordingReporter, a_diffusers_generator
from .pipelines import SIDE_PX, a_tiny_flux, a_tiny_flux2, save_pipeline, warnings_of_diffusers

pytestmark = warnings_of_diffusers

REQUEST = image_request("a red car", side=SIDE_PX, seed=1, steps=2)


class Drawing:
    """Draws, and counts the calls of the denoiser."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.generator = a_diffusers_generator(folder, **changes)
        self.calls = 0
        self.generator.load()
        denoisers(self.generator._pipe)[0].register_forward_pre_hook(self._count)

    def __call__(self, **changes: Any) -> bytes:
        (image,) = self.generator.generate([with_changes(REQUEST, **changes)], RecordingReporter())
        return bytes(image.tobytes())

    def notices(self, **changes: Any) -> list[str]:
        return [notice.message for notice in self.generator.notices(with_changes(REQUEST, **changes))]

    def _count(self, *_: object) -> None:
        self.calls += 1


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pipeline(qwen_image(), tmp_path_factory.mktemp("models") / "qwen")


def test_the_guidance_scale_of_qwen_image_acts_without_a_negative_prompt(qwen: Path) -> None:
    draw = Drawing(qwen)
    assert len({draw(guidance_scale=scale) for scale in (1.0, 4.0, 9.0)}) == 3
    assert draw.calls == 2 + 4 + 4  # a step without guidance is one call
    assert draw(guidance_scale=4.0) == draw(guidance_scale=4.0, negative_prompt=" ")
    assert draw(guidance_scale=4.0) != draw(guidance_scale=4.0, negative_prompt="rain")


def test_a_negative_prompt_without_guidance_is_told(qwen: Path, tiny: Path) -> None:
    for draw in (Drawing(qwen), Drawing(tiny)):
        assert draw(guidance_scale=1.0) == draw(guidance_scale=1.0, negative_prompt="rain")
        (message,) = draw.notices(guidance_scale=1.0, negative_prompt="rain")
        assert message == "negative_prompt is not used: it needs a guidance_scale above 1, such as 4."
        assert draw.notices(guidance_scale=4.0, negative_prompt="rain") == []
        assert draw.notices(guidance_scale=1.0) == []


def test_a_catalogue_that_fixes_true_cfg_scale_leaves_no_other_scale(qwen: Path) -> None:
    fixed = Drawing(qwen, options={"true_cfg_scale": 4.0})
    assert fixed(guidance_scale=5.0) == Drawing(qwen)(guidance_scale=4.0) == fixed(guidance_scale=6.0)
    (message,) = fixed.notices(guidance_scale=6.0)
    assert message.startswith("guidance_scale is not used")
    assert fixed.notices(guidance_scale=5.0) == []


@pytest.mark.parametrize("make", [a_tiny_flux, a_tiny_flux2])
def test_a_distilled_model_draws_with_its_default_scale_and_says_so(make: Any, tmp_path: Path) -> None:
    draw = Drawing(save_pipeline(make(), tmp_path / "model"), sizes=["64x64"])
    assert draw(guidance_scale=6.0, size="64x64") == draw(guidance_scale=5.0, size="64x64")
    request = with_changes(REQUEST, guidance_scale=6.0, size="64x64")
    (notice,) = draw.generator.notices(request)
    assert (notice.param, notice.value) == ("guidance_scale", 5.0)
