"""Seamless images: opposite edges match, other images stay as they are, and other models refuse."""

from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image

from core.catalog import Catalog
from core.errors import InvalidParameter
from core.generation_errors import ModelUnavailable
from core.images.decode import fit
from core.parameters.hires import Hires
from core.parameters.infotext import infotext, parse
from core.parameters.job import dimensions_of
from core.requests.job import JobRequest, validate
from core.requests.plan import plan
from core.requests.webui import Txt2ImgRequest
from core.requests.webui_adaptation import webui_job_request
from core.requests.webui_sizes import sizes_of
from core.settings import Settings
from tests.contract.kinds import BUNDLED, RecordingReporter, a_diffusers_generator, a_model, a_request
from tests.contract.pipelines import (
    a_tiny_flux,
    a_tiny_sdxl,
    a_tiny_stable_diffusion,
    save_pipeline,
    warnings_of_diffusers,
)
from tests.image_requests import with_changes
from worker.generators.tiling import enlarge_seamless
from worker.generators.upscalers import enlarge_latents

pytestmark = warnings_of_diffusers


def visibility(images: list[Any]) -> float:
    """How much the edges stand out: how far the step of colours across them is from that between other pixels.

    Weights at random draw steps of their own at each second pixel, so the edges are compared with each second one.
    """
    pixels = numpy.asarray([numpy.asarray(image, dtype=float) for image in images])
    ratios = []
    for direction in (pixels, pixels.swapaxes(1, 2)):
        steps = numpy.abs(direction - numpy.roll(direction, 1, axis=2)).mean(axis=(0, 1, 3))[::2]
        ratios.append(abs(float(numpy.log(steps[0] / steps[1:].mean()))))
    return sum(ratios)


@pytest.mark.parametrize("make", [a_tiny_stable_diffusion, a_tiny_sdxl])
def test_opposite_edges_of_a_seamless_image_match(make: Any, tmp_path: Path) -> None:
    generator = a_diffusers_generator(save_pipeline(make(), tmp_path), tiling=True, operations=["generation", "edit"])

    def images(*requests: Any) -> list[Any]:
        return list(generator.generate(requests, RecordingReporter()))

    plain = [a_request("text-to-image", seed=seed) for seed in range(8)]
    seamless = [with_changes(request, tiling=True) for request in plain]
    before, results = images(*plain), images(*seamless)

    assert visibility(results) < 0.5 * visibility(before)
    assert [image.tobytes() for image in images(*plain)] == [image.tobytes() for image in before]
    alone = numpy.asarray([numpy.asarray(images(request)[0], dtype=int) for request in seamless])
    assert numpy.abs(alone - numpy.asarray([numpy.asarray(image, dtype=int) for image in results])).max() <= 2
    edit = a_request("image-to-image")
    assert images(edit)[0].tobytes() != images(with_changes(edit, tiling=True))[0].tobytes()


def test_a_model_whose_networks_know_places_cannot_tile(tmp_path: Path) -> None:
    for folder in (BUNDLED, save_pipeline(a_tiny_flux(), tmp_path)):
        with pytest.raises(ModelUnavailable, match=r"draws no seamless images.*remove `tiling`"):
            a_diffusers_generator(folder, tiling=True).load()
    with pytest.raises(ValueError, match="tiling is not available for fake"):
        a_model(generator="fake", tiling=True)


@pytest.mark.parametrize("upscaler", ["lanczos", "latent_bicubic"])
def test_a_seamless_image_stays_so_when_it_is_enlarged(upscaler: str) -> None:
    generator = numpy.random.default_rng(0)
    hires = Hires(width=48, height=72, strength=0.5, steps=2, upscaler=upscaler)
    pixels = generator.integers(0, 255, (48, 32, 3), dtype="uint8")
    latents = generator.normal(size=(4, 24, 16))

    def lanczos(image: Any, to: Hires) -> Any:
        return fit(image, *dimensions_of(str(to.size)))

    def bicubic(tile: Any, to: Hires) -> Any:
        return enlarge_latents(tile, upscaler, *dimensions_of(str(to.size)), 2)

    def enlarge(columns: int) -> Any:
        if upscaler == "lanczos":
            tile = Image.fromarray(numpy.roll(pixels, columns, axis=1))
            return numpy.asarray(enlarge_seamless(lanczos, tile, hires, 1), dtype=int)
        moved = torch.from_numpy(numpy.roll(latents, columns // 2, axis=2))
        return (255 * enlarge_seamless(bicubic, moved, hires, 2).permute(1, 2, 0)).numpy()

    plain, moved = enlarge(0), enlarge(16)
    assert plain.shape[:2] == ((72, 48) if upscaler == "lanczos" else (36, 24))
    assert numpy.abs(numpy.roll(plain, plain.shape[1] // 2, axis=1) - moved).max() <= 1


def test_requests_ask_for_seamless_images_where_the_catalogue_has_them() -> None:
    texture = a_model(id="texture", tiling=True, operations=["generation", "edit"], hires={})
    other = a_model(id="other")
    catalog = Catalog(default="texture", models=(texture, other))

    def job(**fields: Any) -> Any:
        return plan(validate(JobRequest, {"prompt": "moss", **fields}), catalog, Settings(), "proj")

    seamless, plain = job(tiling=True), job(tiling=False)
    assert (seamless.parameters.tiling, plain.parameters.tiling) == (True, None)
    assert seamless.microbatch_key != plain.microbatch_key == job().microbatch_key
    assert job(model="other", tiling=False).parameters.tiling is None
    with pytest.raises(InvalidParameter, match="other does not support tiling") as error:
        job(model="other", tiling=True)
    assert error.value.param == "tiling"
    assert job(tiling=True, hires={}).parameters.hires.size == "64x64"
    with pytest.raises(InvalidParameter, match="keeps its ratio") as error:
        job(tiling=True, hires={"width": 64, "height": 48})
    assert error.value.param == "hires"
    assert parse(infotext("moss", "texture", "generation", seamless.parameters))["Tiling"] == "True"

    def webui(model: Any, **fields: Any) -> Any:
        request = Txt2ImgRequest.model_validate({"prompt": "moss", **fields})
        return webui_job_request(request, model, {}, sizes_of(request, model), "txt2img")

    for fields in ({"tiling": True}, {"override_settings": {"tiling": True}}):
        assert (webui(texture, **fields).tiling, list(webui(texture, **fields).warnings)) == (True, [])
        unused = webui(other, **fields)
        assert (unused.tiling, len(unused.warnings)) == (None, 1)
