"""The second pass: a larger image with the layout of the first, whose steps count as those of one job."""

from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image

from core.catalog import Catalog
from core.control import Control
from core.errors import InvalidParameter
from core.generation import ImagesRejected
from core.generation_errors import GeneratorFailed, ModelUnavailable
from core.hires import Hires
from core.requests.job import JobRequest, validate
from core.requests.plan import plan
from core.settings import Settings
from tests.contract.kinds import RecordingReporter, a_diffusers_generator, a_model, a_photo, a_request
from tests.contract.networks import a_controlled_generator
from tests.contract.pipelines import (
    SIDE_PX,
    a_tiny_flux2,
    a_tiny_sdxl,
    a_tiny_stable_diffusion,
    save_pipeline,
    warnings_of_diffusers,
)
from tests.image_requests import with_changes

pytestmark = warnings_of_diffusers

SECOND = Hires(width=48, height=64, strength=0.5, steps=6, upscaler="lanczos")


@pytest.mark.parametrize("make", [a_tiny_stable_diffusion, a_tiny_sdxl])
def test_the_second_pass_is_an_edit_of_the_enlarged_image(make: Any, tmp_path: Path) -> None:
    folder = save_pipeline(make(), tmp_path / "model")
    generator = a_diffusers_generator(folder, operations=["generation", "edit"], hires={"max_scale": 2})
    request = with_changes(a_request("text-to-image", steps=4), hires=SECOND)
    reporter = RecordingReporter()

    (image,) = generator.generate([request], reporter)

    steps, totals = zip(*reporter.steps, strict=True)
    assert (list(dict.fromkeys(steps)), set(totals)) == (list(range(8)), {7})  # 4, and half of 6
    (first,) = generator.generate([a_request("text-to-image", steps=4)], RecordingReporter())
    large = Image.Image.resize(first.crop((4, 0, 28, 32)), (48, 64), Image.Resampling.LANCZOS)
    edit = with_changes(
        a_request("image-to-image", steps=6), image=large, size="48x64", strength=0.5, control_images=()
    )
    assert image.size == (48, 64)
    expected = generator.generate([edit], RecordingReporter())[0]
    assert abs(numpy.asarray(image, int) - numpy.asarray(expected, int)).max() <= 1
    other = with_changes(request, seed=9, prompt="a house")
    alone = [generator.generate([each], RecordingReporter())[0] for each in (request, other)]
    assert generator.sharing_key(request) == generator.sharing_key(other)
    together = generator.generate([request, other], RecordingReporter())
    for result, single in zip(together, alone, strict=True):  # a batch may round in another way
        assert abs(numpy.asarray(result, int) - numpy.asarray(single, int)).max() <= 2


def test_a_second_pass_follows_the_control_image_too(tmp_path: Path) -> None:
    generator = a_controlled_generator(a_tiny_stable_diffusion, tmp_path)
    request = with_changes(
        a_request("text-to-image"), hires=SECOND, control=[Control(type="canny")], control_images=(a_photo(SIDE_PX),)
    )
    assert generator.generate([request], RecordingReporter())[0].size == (48, 64)
    assert generator.sharing_key(request) is None


def test_an_image_that_breaks_in_a_pass_costs_no_other(tmp_path: Path) -> None:
    folder = save_pipeline(a_tiny_stable_diffusion(), tmp_path / "model")
    generator = a_diffusers_generator(folder, operations=["generation", "edit"], hires={})
    requests = [with_changes(a_request("text-to-image", seed=seed), hires=SECOND) for seed in (1, 2)]
    generator.load()

    def break_the_first_of_two(module: Any, arguments: Any, output: torch.Tensor) -> torch.Tensor:
        return torch.cat([output[:1] * float("nan"), output[1:]]) if len(output) == 2 else output

    handle = generator._pipe.vae.decoder.conv_out.register_forward_hook(break_the_first_of_two)
    with pytest.raises(ImagesRejected) as rejection:
        generator.generate(requests, RecordingReporter())
    handle.remove()
    failure, image = rejection.value.results
    assert isinstance(failure, GeneratorFailed)
    assert isinstance(image, Image.Image)
    assert image.size == (48, 64)


def test_a_model_without_edits_by_strength_has_no_second_pass(tmp_path: Path) -> None:
    generator = a_diffusers_generator(save_pipeline(a_tiny_flux2(), tmp_path / "model"), hires={})
    with pytest.raises(ModelUnavailable, match="remove `hires`"):
        generator.load()


def test_requests_ask_for_a_second_pass_within_the_models_bounds() -> None:
    model = a_model(id="fine", sizes=["512x768"], hires={"max_scale": 2, "strength": 0.4}, steps={"default": 20})
    catalog = Catalog(default="fine", models=(model, a_model(id="plain")))

    def job(**fields: Any) -> Any:
        return plan(validate(JobRequest, {"prompt": "a cat", **fields}), catalog, Settings(), "proj")

    default, scaled, sized = (job(hires=hires) for hires in ({}, {"scale": 1.3}, {"width": 640, "height": 768}))
    assert default.parameters.hires == Hires(width=1024, height=1536, strength=0.4, steps=20)
    assert scaled.parameters.hires.size == "672x992"
    assert sized.parameters.output_dimensions == (640, 768)
    assert job(hires={}, output_size="100x100").parameters.output_dimensions == (100, 100)
    assert len({each.microbatch_key for each in (default, scaled, sized, job())}) == 4
    assert default.cost > scaled.cost > job().cost
    for hires, param, message in (
        ({"scale": 3}, "hires.scale", "above 1 to 2"),
        ({"width": 2000, "height": 768}, "hires.width", "The nearest is 1024x768"),
        ({"width": 512, "height": 768}, "hires.width", "not available"),
        ({"width": 700, "height": 768}, "hires.width", "The nearest is 704x768"),
        ({"width": 640}, "hires", "both width and height"),
        ({"scale": 2, "width": 640, "height": 768}, "hires", "not both"),
        ({"upscaler": "esrgan"}, "hires.upscaler", "lanczos"),
        ({"steps": 10**9}, "hires.steps", "1000000000; the allowed range is 1 to 100"),
        ({"steps": 10**400}, "hires.steps", "the allowed range is 1 to 100"),
        ({"steps": 3, "strength": 0.3}, "hires.strength", "none of 3 steps; at least 0.3334"),
    ):
        with pytest.raises(InvalidParameter, match=message) as error:
            job(hires=hires)
        assert error.value.param == param
    with pytest.raises(InvalidParameter, match="plain does not support hires"):
        job(hires={}, model="plain")
    with pytest.raises(InvalidParameter, match="hires is for operation generation"):
        job(hires={}, operation="edit", image={"file_id": "file-1"})
