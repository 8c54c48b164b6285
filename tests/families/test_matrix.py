"""Every family of diffusers draws, reports its steps, stops, tells broken numbers, and is the same in a batch."""

from pathlib import Path

import pytest

from core.generation_errors import GenerationError
from tests.contract.kinds import RecordingReporter, a_diffusers_generator, a_request
from tests.contract.pipelines import a_tiny_flux, save_pipeline, warnings_of_diffusers
from tests.image_requests import with_changes

from .matrix import FAMILIES, LARGEST_DIFFERENCE, SIDE, measure
from .pipelines import kontext

pytestmark = [
    warnings_of_diffusers,
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


def test_kontext_draws_the_size_of_the_request_with_an_image_and_without(tmp_path: Path) -> None:
    generator = a_diffusers_generator(save_pipeline(kontext(), tmp_path / "model"), operations=["generation", "edit"])
    for task in ("text-to-image", "image-to-image"):
        request = with_changes(a_request(task, SIDE, steps=1), size="48x32", strength=None)
        (image,) = generator.generate([request], RecordingReporter())
        assert image.size == (48, 32)


def test_a_size_that_flux_would_round_is_refused_before_the_first_step(tmp_path: Path) -> None:
    generator = a_diffusers_generator(save_pipeline(a_tiny_flux(), tmp_path / "model"))
    reporter = RecordingReporter()
    with pytest.raises(GenerationError, match="both sides must be multiples of 4") as caught:
        generator.generate([a_request("text-to-image", 33)], reporter)
    assert (reporter.steps, caught.value.param) == ([], "size")
