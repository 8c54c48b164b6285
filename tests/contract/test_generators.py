"""What every generator promises for each of its tasks: from a text, over an image, in a mask, as a variation."""

import pytest

from core.generation import Stopped
from core.generation_errors import GenerationError
from tests.image_requests import with_changes

from .kinds import Artist, RecordingReporter, artists
from .pipelines import warnings_of_diffusers

pytestmark = warnings_of_diffusers

for_all = pytest.mark.parametrize("artist", artists(), indirect=True, ids=" / ".join)
with_a_prompt = pytest.mark.parametrize(
    "artist", artists("text-to-image", "image-to-image", "inpainting"), indirect=True, ids=" / ".join
)


@for_all
def test_as_many_images_of_the_asked_size_come_as_were_asked(artist: Artist) -> None:
    images = artist.generator.generate([artist.request(seed=seed) for seed in range(3)], RecordingReporter())
    assert [(image.mode, image.size) for image in images] == [("RGB", (artist.kind.side_px,) * 2)] * 3


@for_all
def test_no_requests_give_no_images(artist: Artist) -> None:
    assert list(artist.generator.generate([], RecordingReporter())) == []


@for_all
def test_a_seed_gives_the_same_image_again(artist: Artist) -> None:
    (first,), (repeated_image,) = artist.draw(artist.request()), artist.draw(artist.request())
    assert (first == repeated_image).all()


@for_all
def test_a_seed_gives_the_same_image_whatever_shares_the_batch(artist: Artist) -> None:
    request = artist.request(seed=7)
    (alone,) = artist.draw(request)
    neighbours = [artist.request(seed=8), artist.request(seed=9)]
    if request.prompt:
        neighbours[0] = with_changes(neighbours[0], prompt="three blue houses by the sea")
        neighbours[1] = with_changes(neighbours[1], prompt="夜晚的城市")
    first, *_ = artist.draw(request, *neighbours)
    *_, last = artist.draw(*neighbours, request)
    assert abs(first - alone).max() <= artist.kind.tolerance
    assert abs(last - alone).max() <= artist.kind.tolerance


@for_all
def test_another_seed_gives_another_image(artist: Artist) -> None:
    request = artist.request(seed=1)
    first_image, second_image = artist.draw(request, with_changes(request, seed=2))
    assert abs(first_image - second_image).max() > artist.kind.tolerance


@with_a_prompt
def test_another_prompt_gives_another_image(artist: Artist) -> None:
    first_image, second_image = artist.draw(artist.request("a red car"), artist.request("a blue house"))
    assert abs(first_image - second_image).max() > artist.kind.tolerance


@for_all
def test_the_reporter_gets_each_step_up_to_the_last(artist: Artist) -> None:
    reporter = RecordingReporter()
    artist.generator.generate([artist.request(), artist.request(seed=2)], reporter)
    total = artist.kind.counts(artist.request())
    assert reporter.steps == [(step, total) for step in range(total + 1)]


@for_all
def test_a_reporter_can_stop_at_any_step_and_the_generator_still_works(artist: Artist) -> None:
    (before,) = artist.draw(artist.request())
    total = artist.kind.counts(artist.request())
    for stop_at in range(total):
        reporter = RecordingReporter(stop_at=stop_at)
        with pytest.raises(Stopped):
            artist.generator.generate([artist.request()], reporter)
        assert reporter.steps == [(step, total) for step in range(stop_at + 1)]
    (after,) = artist.draw(artist.request())
    assert (after == before).all()


@for_all
def test_a_negative_prompt_is_heard_or_refused(artist: Artist) -> None:
    plain = artist.request()
    negative = with_changes(plain, negative_prompt="blurred")
    if not artist.kind.hears_negative_prompts:
        if notices := artist.generator.notices(negative):
            assert [notice.param for notice in notices] == ["negative_prompt"]
            assert (artist.draw(negative)[0] == artist.draw(plain)[0]).all()
            return
        with pytest.raises(GenerationError, match="takes no negative_prompt") as refusal:
            artist.draw(negative)
        assert not refusal.value.retryable
        return
    (without,), (with_it,) = artist.draw(plain), artist.draw(negative)
    assert abs(without - with_it).max() > artist.kind.tolerance


@for_all
def test_loading_twice_is_loading_once(artist: Artist) -> None:
    artist.generator.load()
    artist.generator.load()


@for_all
def test_the_receipt_says_what_drew(artist: Artist) -> None:
    receipt = artist.generator.receipt()
    assert {"model", "revision", "device", "dtype"} <= receipt.keys()
    assert receipt["device"] == "cpu"
    assert all(receipt.values())
