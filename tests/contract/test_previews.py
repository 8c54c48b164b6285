"""Previews: unfinished images between any two steps, for clients that want them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy
import pytest
from PIL import Image

from core.generation import Stopped

from .kinds import Artist, RecordingReporter, a_diffusers_generator, a_request, artists
from .pipelines import SIDE_PX, a_tiny_flux, save_pipeline, warnings_of_diffusers

pytestmark = warnings_of_diffusers

_UNSEEN = {"karlo", "karlo of variations"}  # their pipelines have no callback
preview_artists = [pair for pair in artists() if pair[0] not in _UNSEEN]
unseen = [pair for pair in artists() if pair[0] in _UNSEEN]


@pytest.mark.parametrize("artist", preview_artists, indirect=True, ids=" / ".join)
def test_between_two_steps_there_is_a_preview_of_every_image(artist: Artist) -> None:
    requests = [artist.request(), artist.request(seed=2)]
    reporter = RecordingReporter(looks=True)
    looked_at = artist.generator.generate(requests, reporter)
    assert len(reporter.previews) == artist.kind.counts(requests[0]) - 1
    assert {(len(images), images[0].mode) for images in reporter.previews} == {(2, "RGB")}
    unlooked_at = artist.generator.generate(requests, RecordingReporter())
    assert [image.tobytes() for image in looked_at] == [image.tobytes() for image in unlooked_at]


@pytest.mark.parametrize("artist", unseen, indirect=True, ids=" / ".join)
def test_a_pipeline_that_cannot_be_looked_at_draws_on(artist: Artist) -> None:
    reporter = RecordingReporter(looks=True)
    artist.generator.generate([artist.request()], reporter)
    assert reporter.previews == []


@pytest.mark.parametrize("artist", [("unclip-mini", "text-to-image")], indirect=True)
def test_previews_come_nearer_to_the_image(artist: Artist) -> None:
    reporter = RecordingReporter(looks=True)
    (image,) = artist.generator.generate([artist.request("a red car on the beach", steps=10)], reporter)
    distances = [
        abs(numpy.asarray(image, dtype=int) - numpy.asarray(preview[0], dtype=int)).mean()
        for preview in reporter.previews
    ]
    assert distances[0] > distances[4] > distances[-1]
    assert distances[-1] < 5


def test_nothing_is_decoded_unless_somebody_looks(tiny: Path) -> None:
    generator = a_diffusers_generator(tiny)
    generator.load()
    images: list[object] = []
    generator._pipe.vae.decoder.register_forward_hook(lambda *_: images.append(1))
    request = a_request("text-to-image")
    generator.generate([request], RecordingReporter())
    assert len(images) == 1
    generator.generate([request], RecordingReporter(looks=True))
    assert len(images) == 2 + 3


def test_a_transformer_s_patches_are_shown_as_images(tmp_path: Path) -> None:
    generator = a_diffusers_generator(save_pipeline(a_tiny_flux(), tmp_path / "flux"))
    reporter = RecordingReporter(looks=True)
    generator.generate([a_request("text-to-image", steps=3)], reporter)
    assert [images[0].size for images in reporter.previews] == [(SIDE_PX, SIDE_PX)] * 2


class Impatient(RecordingReporter):
    """Stops the drawing when it is offered a look."""

    def preview(self, draw: Callable[[], Sequence[Image.Image]]) -> None:
        raise Stopped


@pytest.mark.parametrize("artist", preview_artists, indirect=True, ids=" / ".join)
def test_a_reporter_can_stop_at_a_preview_too(artist: Artist) -> None:
    (before,) = artist.draw(artist.request())
    with pytest.raises(Stopped):
        artist.generator.generate([artist.request()], Impatient())
    (after,) = artist.draw(artist.request())
    assert (after == before).all()
