"""Variations: another image for every seed, of what the input image shows."""

import json
from pathlib import Path

import diffusers.pipelines
import pytest

from core.generation_errors import GenerationError
from tests.image_requests import with_changes

from .kinds import Artist, RecordingReporter, a_diffusers_generator, a_photo, a_request, artists
from .pipelines import SIDE_PX, a_tiny_karlo_of_variations, save_pipeline, warnings_of_diffusers

pytestmark = warnings_of_diffusers

after_an_image = pytest.mark.parametrize("artist", artists("variation"), indirect=True, ids=" / ".join)


@after_an_image
def test_every_seed_varies_the_image_in_its_own_way(artist: Artist) -> None:
    request = artist.request()
    images = artist.draw(*(with_changes(request, seed=seed) for seed in range(4)))
    for index, image in enumerate(images):
        assert all(abs(image - other_image).max() > artist.kind.tolerance for other_image in images[:index])


@after_an_image
def test_another_image_is_varied_into_another_image(artist: Artist) -> None:
    request = artist.request()
    image, other_image = artist.draw(request, with_changes(request, image=a_photo(artist.kind.side_px, 3)))
    assert abs(image - other_image).max() > artist.kind.tolerance


@pytest.mark.parametrize("artist", [("fake", "variation"), ("unclip-mini", "variation")], indirect=True)
def test_a_prompt_beside_the_image_is_heard(artist: Artist) -> None:
    request = artist.request()
    image, other_image = artist.draw(request, with_changes(request, prompt="a red car"))
    assert abs(image - other_image).max() > artist.kind.tolerance


@pytest.mark.parametrize("artist", [("karlo of variations", "variation")], indirect=True)
def test_a_prompt_that_would_be_ignored_is_refused(artist: Artist) -> None:
    with pytest.raises(GenerationError, match="takes no prompt here") as caught:
        artist.draw(with_changes(artist.request(), prompt="a red car"))
    assert not caught.value.retryable


def test_karlo_s_folder_loads_though_diffusers_has_moved_its_module(tmp_path: Path) -> None:
    folder = save_pipeline(a_tiny_karlo_of_variations(), tmp_path / "karlo")
    assert json.loads((folder / "model_index.json").read_text())["text_proj"] == ["unclip", "UnCLIPTextProjModel"]
    generator = a_diffusers_generator(folder, operations=["variation"])
    assert generator.generate([a_request("variation")], RecordingReporter())[0].size == (SIDE_PX, SIDE_PX)
    assert not hasattr(diffusers.pipelines, "unclip")  # which our own package would be mistaken for
