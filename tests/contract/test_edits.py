"""Edits: how far an image changes, where it must not change at all, and which generators cannot edit."""

from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
from PIL import Image

from core.generation import Generator
from core.generation_errors import GenerationError, ModelUnavailable
from tests.image_requests import with_changes
from worker.generators.mask import paste
from worker.generators.operations import Task

from .kinds import Array, Artist, RecordingReporter, a_diffusers_generator, a_mask, a_model, a_photo, a_request, artists
from .pipelines import (
    a_tiny_flux,
    a_tiny_flux2,
    a_tiny_karlo,
    a_tiny_stable_diffusion,
    save_pipeline,
    warnings_of_diffusers,
)

pytestmark = warnings_of_diffusers

over_an_image = pytest.mark.parametrize("artist", artists("image-to-image"), indirect=True, ids=" / ".join)
in_a_mask = pytest.mark.parametrize("artist", artists("inpainting"), indirect=True, ids=" / ".join)


def distance(first_image: Array, second_image: Array) -> float:
    return float(abs(first_image - second_image).mean())


@over_an_image
def test_a_small_strength_changes_less_than_a_large_one(artist: Artist) -> None:
    # From the least edit there is, for the tiny autoencoder with its random weights returns no image as it was.
    small, medium, large = (
        artist.draw(artist.request(steps=20, strength=strength))[0] for strength in (0.05, 0.3, 1.0)
    )
    assert 0 < distance(medium, small) < distance(large, small)


@pytest.mark.parametrize(
    "artist", [pair for pair in artists("image-to-image") if pair[0] in {"fake", "unclip-mini"}], indirect=True
)
def test_the_least_edit_is_nearly_the_original(artist: Artist) -> None:
    side = artist.kind.side_px
    small, large = (artist.draw(artist.request(steps=20, strength=strength))[0] for strength in (0.05, 0.9))
    original = numpy.asarray(a_photo(side, 1), dtype=int)
    assert distance(small, original) < 20
    assert distance(large, original) > 2 * distance(small, original)


@over_an_image
def test_a_strength_of_one_leaves_nothing_of_the_original(artist: Artist) -> None:
    request = artist.request(strength=1.0)
    first_image, second_image = artist.draw(request, with_changes(request, image=a_photo(artist.kind.side_px, 3)))
    if artist.name in {"fake", "unclip-mini"}:
        assert abs(first_image - second_image).max() <= artist.kind.tolerance
    else:  # Stable Diffusion begins below the strongest noise, so a trace of the original is left
        assert distance(first_image, second_image) < distance(
            first_image, artist.draw(with_changes(request, seed=2))[0]
        )


@in_a_mask
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_outside_the_mask_every_pixel_is_the_original_s(artist: Artist, strength: float) -> None:
    request = artist.request(strength=strength)
    (image,) = artist.draw(request)
    original, mask = numpy.asarray(request.image, dtype=int), numpy.asarray(request.mask)
    assert (image[mask == 0] == original[mask == 0]).all()
    assert abs(image[mask == 255] - original[mask == 255]).mean() > 1


@in_a_mask
def test_each_image_of_a_batch_has_a_mask_of_its_own(artist: Artist) -> None:
    side = artist.kind.side_px
    left, right = Image.new("L", (side, side)), Image.new("L", (side, side))
    left.paste(255, (0, 0, side // 2, side))
    right.paste(255, (side // 2, 0, side, side))
    first, second = artist.request(mask=left), artist.request(mask=right, seed=2)
    first_image, second_image = artist.draw(first, second)
    half = side // 2
    assert (first_image[:, half:] == numpy.asarray(first.image)[:, half:]).all()
    assert (second_image[:, :half] == numpy.asarray(second.image)[:, :half]).all()
    assert (first_image[:, :half] != numpy.asarray(first.image)[:, :half]).any()


@pytest.mark.parametrize("side", [256, 1024])
@pytest.mark.parametrize("artist", [("unclip-mini", "inpainting")], indirect=True)
def test_the_original_keeps_its_resolution_outside_the_mask(artist: Artist, side: int) -> None:
    detailed = Image.effect_noise((side, side), 60).convert("RGB")
    (image,) = artist.draw(artist.request(size=f"{side}x{side}", image=detailed, mask=a_mask(side), steps=2))
    outside = numpy.asarray(a_mask(side)) == 0
    assert (image[outside] == numpy.asarray(detailed)[outside]).all()


def test_the_edge_of_a_mask_is_soft_and_inside_it() -> None:
    side = 128
    mask = a_mask(side)
    white, black = Image.new("RGB", (side, side), "white"), Image.new("RGB", (side, side))
    share = numpy.asarray(paste(white, black, mask))[:, :, 0]
    assert ((share > 0) == (numpy.asarray(mask) > 0)).all()
    left = side // 4 + 1
    assert [*share[side // 4, left - 1 : left + 3]] == [0, 84, 170, 255]


def test_the_pipelines_of_a_model_share_every_weight(tiny: Path) -> None:
    generator = a_diffusers_generator(tiny)
    images_of_text = generator.generate([a_request("text-to-image")], RecordingReporter())
    image = generator.generate([a_request("inpainting")], RecordingReporter())
    assert len(images_of_text) == len(image) == 1
    tasks: tuple[Task, ...] = ("image-to-image", "inpainting")
    pipes = [generator._operations.pipeline(a_request(task)) for task in tasks]
    assert {type(pipe).__name__ for pipe in pipes} == {
        "StableDiffusionImg2ImgPipeline",
        "StableDiffusionInpaintPipeline",
    }
    for pipe in pipes:
        assert all(pipe.components[name] is generator._pipe.components[name] for name in ("unet", "vae", "scheduler"))


def test_a_transformer_edits_in_fewer_steps_too(tmp_path: Path) -> None:
    generator = a_diffusers_generator(save_pipeline(a_tiny_flux(), tmp_path / "flux"))
    reporter = RecordingReporter()
    generator.generate([a_request("image-to-image", steps=8, strength=0.5)], reporter)
    assert reporter.steps == [(step, 4) for step in range(5)]


def test_a_model_that_cannot_edit_says_so(tmp_path: Path) -> None:
    generator = a_diffusers_generator(save_pipeline(a_tiny_karlo(), tmp_path / "karlo"))
    with pytest.raises(GenerationError, match="cannot do image-to-image: UnCLIPPipeline has no") as caught:
        generator.generate([a_request("image-to-image")], RecordingReporter())
    assert not caught.value.retryable


def test_a_denoiser_made_for_inpainting_does_nothing_else(make_generator: Callable[[str], Generator]) -> None:
    generator = make_generator("stable diffusion, inpainting only")
    for wrong in (a_request("image-to-image"), a_request("text-to-image")):
        with pytest.raises(GenerationError, match=r"under-test cannot do (image-to-image|text-to-image)"):
            generator.generate([wrong], RecordingReporter())


def test_a_catalogue_that_asks_for_what_a_pipeline_cannot_do_is_an_error(tmp_path: Path) -> None:
    folder = save_pipeline(a_tiny_stable_diffusion(), tmp_path / "plain")
    with pytest.raises(ModelUnavailable, match="cannot do what the catalogue lists: variation"):
        a_diffusers_generator(folder, operations=["variation"]).load()


def test_a_strength_that_leaves_no_step_is_refused(tiny: Path) -> None:
    with pytest.raises(GenerationError, match=r"strength of 0\.1 leaves none of 4 steps") as caught:
        a_diffusers_generator(tiny).generate([a_request("image-to-image", strength=0.1)], RecordingReporter())
    assert not caught.value.retryable


def test_an_edit_without_its_image_is_refused(tiny: Path) -> None:
    with pytest.raises(GenerationError, match="came without its image"):
        a_diffusers_generator(tiny).generate([a_request("inpainting", image=None)], RecordingReporter())


def test_an_edit_with_a_mask_does_not_share_a_call_with_one_without(tiny: Path) -> None:
    batch = [a_request("inpainting"), a_request("inpainting", mask=None)]
    with pytest.raises(GenerationError, match="must not share a call"):
        a_diffusers_generator(tiny).generate(batch, RecordingReporter())


def test_an_edit_reads_every_image_that_its_model_takes(tmp_path: Path) -> None:
    folder = save_pipeline(a_tiny_flux2(), tmp_path / "model")
    generator = a_diffusers_generator(folder, operations=["generation", "edit"], max_input_images=3)
    edit = a_request("image-to-image", 64, strength=None, steps=2)
    references = (a_photo(64, 2), a_photo(96, 3))

    def image(*images: Image.Image) -> bytes:
        request = with_changes(edit, reference_images=images)
        return bytes(generator.generate([request], RecordingReporter())[0].tobytes())

    results = [image(), image(references[0]), image(references[1]), image(*references), image(*reversed(references))]
    assert len(set(results)) == 5
    assert generator.sharing_key(with_changes(edit, reference_images=references)) is None


def test_a_catalogue_that_promises_more_images_than_a_pipeline_takes_is_refused(tiny: Path) -> None:
    generator = a_diffusers_generator(tiny, operations=["edit"], max_input_images=2)
    with pytest.raises(ModelUnavailable, match="max_input_images must be 1"):
        generator.load()
    with pytest.raises(ValueError, match="max_input_images"):
        a_model(max_input_images=17)
