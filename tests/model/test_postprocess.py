"""What the filters do to an image, measured in its pixels, and which parameters they allow."""

from typing import Any

import numpy
import pytest
from PIL import Image, ImageDraw
from pydantic import ValidationError

from core.errors import InvalidParameter
from core.images.postprocess import Postprocess, output_size
from worker.generation.postprocess import apply_filters

Pixels = numpy.ndarray[Any, numpy.dtype[numpy.float64]]


def pixels(image: Image.Image) -> Pixels:
    return numpy.asarray(image, numpy.float64)


def artwork(side: int) -> Image.Image:
    """Flat shapes with outlines, a thin line and small dots; each pixel the mean of the 16 below it."""
    image = Image.new("RGB", (4 * side, 4 * side), (120, 190, 240))
    pen = ImageDraw.Draw(image)

    def at(*shares: float) -> list[float]:
        return [share * image.width for share in shares]

    pen.rectangle(at(0, 0.7, 1, 1), fill=(70, 140, 60))
    pen.ellipse(at(0.2, 0.3, 0.6, 0.75), fill=(230, 140, 40), outline=(60, 30, 10), width=image.width // 50)
    pen.polygon(at(0.55, 0.2, 0.9, 0.35, 0.7, 0.8), fill=(200, 40, 60))
    for left in (0.3, 0.44):
        pen.ellipse(at(left, 0.42, left + 0.06, 0.5), fill=(20, 20, 20))
    pen.line(at(0.1, 0.1, 0.9, 0.15), fill=(255, 255, 255), width=image.width // 80)
    return image.reduce(4)


def step(noise: float) -> Image.Image:
    """Grey 100 on the left, 160 on the right, with grain of this standard deviation."""
    clean = numpy.full((128, 128, 3), 100.0)
    clean[:, 64:] = 160
    grainy = clean + numpy.random.default_rng(0).normal(0, noise, clean.shape)
    return Image.fromarray(grainy.clip(0, 255).round().astype("uint8"))


def contrast(image: Image.Image) -> float:
    """How much brighter the first column right of the step's edge is than the last one left of it."""
    values = pixels(image)
    return float((values[:, 64] - values[:, 63]).mean())


def error(image: Image.Image, truth: Image.Image) -> float:
    return float(((pixels(image) - pixels(truth)) ** 2).mean())


@pytest.mark.parametrize(("strength", "left"), [(0.3, 0.7), (0.6, 0.4), (1.0, 0.1)])
def test_denoise_takes_grain_from_even_areas_and_leaves_the_edge(strength: float, left: float) -> None:
    grainy = step(8)
    smooth = apply_filters(grainy, Postprocess(denoise=strength))
    assert pixels(smooth)[:, 8:56].var() < left * pixels(grainy)[:, 8:56].var()
    assert contrast(smooth) > 0.65 * contrast(grainy)


def test_denoise_hardly_touches_artwork_that_has_no_grain() -> None:
    clean = artwork(128)
    assert error(apply_filters(clean, Postprocess(denoise=1.0)), clean) < 0.2 * error(
        clean.resize((64, 64)).resize((128,) * 2), clean
    )


def test_sharpen_raises_the_energy_of_edges_with_its_strength() -> None:
    soft = artwork(64).resize((128, 128), Image.Resampling.BILINEAR)
    energies = [
        float((numpy.diff(pixels(apply_filters(soft, Postprocess(sharpen=strength))), axis=1) ** 2).mean())
        for strength in (0.0, 0.3, 0.6, 1.0)
    ]
    assert energies == sorted(energies)
    assert energies[1] > 1.2 * energies[0]
    assert energies[3] > 2 * energies[0]


@pytest.mark.parametrize("factor", [2, 4])
def test_upscale_comes_closer_to_the_true_large_image_than_the_usual_kernels(factor: int) -> None:
    truth, small = artwork(128 * factor), artwork(128)
    large = apply_filters(small, Postprocess.model_validate({"upscale": factor}))
    assert large.size == truth.size
    for kernel, share in ((Image.Resampling.BILINEAR, 0.6), (Image.Resampling.LANCZOS, 0.75)):
        assert error(large, truth) < share * error(small.resize(truth.size, kernel), truth)


@pytest.mark.parametrize("factor", [2, 4])
def test_upscale_makes_no_value_that_its_neighbourhood_did_not_have(factor: int) -> None:
    small = artwork(96)
    large = pixels(apply_filters(small, Postprocess.model_validate({"upscale": factor})))
    padded_pixels = numpy.pad(pixels(small), ((1, 1), (1, 1), (0, 0)), mode="edge")
    around = numpy.lib.stride_tricks.sliding_window_view(padded_pixels, (3, 3), (0, 1))
    for limit, sign in ((around.min((-2, -1)), 1), (around.max((-2, -1)), -1)):
        assert (sign * (large - limit.repeat(factor, 0).repeat(factor, 1)) >= 0).all()
    lanczos = pixels(small.resize((96 * factor,) * 2, Image.Resampling.LANCZOS))
    assert (lanczos > around.max((-2, -1)).repeat(factor, 0).repeat(factor, 1)).any(), "nothing to hold back"


def test_upscale_leaves_a_plain_image_plain() -> None:
    image = Image.new("RGB", (33, 21), (12, 200, 77))
    assert apply_filters(image, Postprocess(upscale=2)).getcolors() == [(66 * 42, (12, 200, 77))]


@pytest.mark.parametrize("filters", [Postprocess(), Postprocess(denoise=0.0, sharpen=0.0)])
def test_a_strength_of_0_leaves_every_byte_as_it_was(filters: Postprocess) -> None:
    image = step(8)
    assert filters.does_nothing
    assert apply_filters(image, filters).tobytes() == step(8).tobytes()


def test_the_filters_run_in_one_order_and_give_the_same_bytes_each_time() -> None:
    request = Postprocess.model_validate_json('{"sharpen": 0.5, "upscale": 2, "denoise": 0.4}')
    grainy = step(8)
    by_hand = grainy
    for single in ({"denoise": 0.4}, {"upscale": 2}, {"sharpen": 0.5}):
        by_hand = apply_filters(by_hand, Postprocess.model_validate(single))
    assert apply_filters(grainy, request).tobytes() == apply_filters(grainy, request).tobytes() == by_hand.tobytes()


@pytest.mark.parametrize(
    "body",
    [
        '{"denoise": 1.1}', '{"denoise": -0.1}', '{"denoise": "0.5"}', '{"sharpen": true}', '{"sharpen": NaN}',
        '{"upscale": 3}', '{"upscale": 2.5}', '{"upscale": "2"}', '{"blur": 1}', "[]",
    ],
)  # fmt: skip
def test_what_is_not_a_filter_or_out_of_range_is_refused(body: str) -> None:
    with pytest.raises(ValidationError):
        Postprocess.model_validate_json(body)


def test_whole_numbers_are_strengths_too() -> None:
    assert Postprocess.model_validate_json('{"denoise": 1, "sharpen": 0}') == Postprocess(denoise=1.0, sharpen=0.0)


def test_the_size_that_comes_out_is_known_before_an_image_is_generated() -> None:
    assert output_size("256x128", None) == output_size("256x128", Postprocess(denoise=1.0)) == "256x128"
    assert output_size("256x128", Postprocess(upscale=4)) == "1024x512"
    assert output_size("1024x1024", Postprocess(upscale=4)) == "4096x4096"
    with pytest.raises(InvalidParameter, match="6144x4096; no side may be longer than 4096 px") as caught:
        output_size("1536x1024", Postprocess(upscale=4))
    assert caught.value.param == "postprocess.upscale"
