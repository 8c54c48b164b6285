"""The second pass: a larger image with the layout of the first, whose steps count as those of one job."""

from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image
from transformers import Swin2SRConfig, Swin2SRForImageSuperResolution

from api.model_parameters import parameters_of
from core.catalog import Catalog
from core.errors import InvalidParameter
from core.generation import ImagesRejected
from core.generation_errors import GeneratorFailed, ModelUnavailable
from core.parameters.control import Control
from core.parameters.hires import Hires
from core.requests.job import JobRequest, validate
from core.requests.plan import plan
from core.settings import Settings
from tests.contract.kinds import RecordingReporter, a_diffusers_generator, a_model, a_photo, a_request
from tests.contract.networks import a_controlled_generator
from tests.contract.pipelines import (
    SIDE_PX,
    a_tiny_flux,
    a_tiny_flux2,
    a_tiny_sdxl,
    a_tiny_stable_diffusion,
    save_pipeline,
    warnings_of_diffusers,
)
from tests.families.pipelines import stable_diffusion_3, z_image
from tests.image_requests import with_changes
from worker.generators.upscalers import LATENT

pytestmark = [
    warnings_of_diffusers,
    pytest.mark.filterwarnings("ignore:`FluxPosEmbed` is deprecated:FutureWarning"),
]

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


def test_the_catalogue_lists_the_upscalers_of_a_model() -> None:
    network = {"name": "swin2sr", "source": "swin2sr-x2"}
    model = a_model(id="fine", hires={"upscalers": ["lanczos", "latent"], "networks": [network]})
    schema = parameters_of(model)["hires"]["properties"]["upscaler"]
    assert (schema["enum"], schema["default"]) == (["lanczos", "latent", "swin2sr"], "lanczos")
    for hires, message in (
        ({"upscalers": ["esrgan"]}, "lanczos"),
        ({"upscalers": ["latent"]}, "must have lanczos"),
        ({"networks": [network, network]}, "duplicate names: swin2sr"),
        ({"networks": [{"name": "lanczos", "source": "a"}]}, "duplicate names: lanczos"),
        ({"networks": [{"name": "a", "source": "../a"}]}, "must be a folder in models_dir"),
    ):
        with pytest.raises(ValueError, match=message):
            a_model(hires=hires)
    with pytest.raises(ValueError, match="other than lanczos are not available for fake"):
        a_model(generator="fake", hires={"networks": [network]})


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
        ({"upscaler": "esrgan"}, "hires.upscaler", "choose from lanczos"),
        ({"upscaler": ""}, "hires.upscaler", "at least 1 character"),
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


SWIN = {
    "image_size": 16,
    "window_size": 4,
    "embed_dim": 8,
    "depths": [1],
    "num_heads": [2],
    "upscale": 2,
    "num_channels": 3,
    "upsampler": "pixelshuffledirect",
}


def an_upscaler(folder: Path) -> str:
    """A tiny Swin2SR with random weights."""
    torch.manual_seed(5)
    Swin2SRForImageSuperResolution(Swin2SRConfig(**SWIN)).save_pretrained(folder)
    return str(folder).lstrip("/")


def an_enlarging_generator(make: Any, folder: Path, upscalers: tuple[str, ...], **changes: Any) -> Any:
    networks = [{"name": "swin2sr", "source": an_upscaler(folder / "swin2sr")}]
    generator = a_diffusers_generator(
        save_pipeline(make(), folder / "model"),
        operations=["generation", "edit"],
        hires={"max_scale": 2, "upscalers": upscalers, "networks": networks, **changes},
    )
    generator._settings = generator._settings.model_copy(update={"models_dir": Path("/")})
    return generator


@pytest.mark.parametrize(
    "make",
    [
        a_tiny_stable_diffusion,
        *(pytest.param(make, marks=pytest.mark.slow) for make in (a_tiny_sdxl, a_tiny_flux, stable_diffusion_3)),
    ],
)
def test_each_upscaler_enlarges_in_its_own_way_and_no_image_changes_another(make: Any, tmp_path: Path) -> None:
    names = ("lanczos", *LATENT, "swin2sr")
    generator = an_enlarging_generator(make, tmp_path, names[:-1])
    results: dict[str, bytes] = {}
    for name in names:
        request = with_changes(a_request("text-to-image", steps=2), hires=SECOND.model_copy(update={"upscaler": name}))
        reporter = RecordingReporter()
        (image,) = generator.generate([request], reporter)
        steps, totals = zip(*reporter.steps, strict=True)
        assert (list(dict.fromkeys(steps)), set(totals)) == (list(range(totals[-1] + 1)), {5})  # 2, and half of 6
        assert image.size == (48, 64)
        results[name] = image.tobytes()
        assert ("upscaler swin2sr" in generator.receipt()) == (name == "swin2sr")
        if name in ("latent", "swin2sr"):
            other = with_changes(request, seed=9, prompt="a house")
            pair = [numpy.asarray(each, int) for each in generator.generate([request, other], RecordingReporter())]
            alone = [image, generator.generate([other], RecordingReporter())[0]]
            assert max(abs(a - numpy.asarray(b, int)).max() for a, b in zip(pair, alone, strict=True)) <= 2
    # With so few latents, antialiasing changes nothing, as they only grow.
    assert len(set(results.values())) >= 6


def test_latents_that_are_no_numbers_cost_no_other_image(tmp_path: Path) -> None:
    generator = an_enlarging_generator(a_tiny_stable_diffusion, tmp_path, ("lanczos", "latent"))
    second = SECOND.model_copy(update={"upscaler": "latent"})
    requests = [with_changes(a_request("text-to-image", seed=seed), hires=second) for seed in (1, 2)]
    generator.load()
    (good,) = generator.generate(requests[1:], RecordingReporter())

    def break_the_first(module: Any, arguments: Any, output: Any) -> Any:
        noise = output[0]
        return (torch.cat([noise[:1] * float("nan"), noise[1:]]) if len(noise) == 4 else noise,)

    handle = generator._pipe.unet.register_forward_hook(break_the_first)
    with pytest.raises(ImagesRejected) as rejection:
        generator.generate(requests, RecordingReporter())
    handle.remove()
    failure, image = rejection.value.results
    assert isinstance(failure, GeneratorFailed)
    assert isinstance(image, Image.Image)
    assert abs(numpy.asarray(image, int) - numpy.asarray(good, int)).max() <= 2


def test_an_upscaler_that_cannot_be_used_is_named_when_the_model_is_loaded(tmp_path: Path) -> None:
    generator = an_enlarging_generator(a_tiny_stable_diffusion, tmp_path, ("lanczos",))
    (tmp_path / "swin2sr" / "config.json").unlink()
    with pytest.raises(ModelUnavailable, match=r"the upscaler 'swin2sr' cannot be used: there is no .*config.json"):
        generator.load()
    other = a_diffusers_generator(
        save_pipeline(z_image(), tmp_path / "other"),
        operations=["generation", "edit"],
        hires={"upscalers": ["lanczos", "latent"]},
    )
    with pytest.raises(ModelUnavailable, match=r"cannot begin with latents; remove latent from hires\.upscalers"):
        other.load()
