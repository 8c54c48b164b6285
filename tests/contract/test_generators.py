"""What every generator promises of all that it can do: from a text, over an image, in a mask, after an image."""

import pytest

from core.errors import GenerationError
from core.generation import Stopped
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
def test_nothing_asked_is_nothing_drawn(artist: Artist) -> None:
    assert list(artist.generator.generate([], RecordingReporter())) == []


@for_all
def test_a_seed_gives_the_same_image_again(artist: Artist) -> None:
    (first,), (again,) = artist.draw(artist.request()), artist.draw(artist.request())
    assert (first == again).all()


@for_all
def test_a_seed_gives_the_same_image_whatever_shares_the_batch(artist: Artist) -> None:
    wanted = artist.request(seed=7)
    (alone,) = artist.draw(wanted)
    neighbours = [artist.request(seed=8), artist.request(seed=9)]
    if wanted.prompt:
        neighbours[0] = with_changes(neighbours[0], prompt="three blue houses by the sea")
        neighbours[1] = with_changes(neighbours[1], prompt="夜晚的城市")
    first, *_ = artist.draw(wanted, *neighbours)
    *_, last = artist.draw(*neighbours, wanted)
    assert abs(first - alone).max() <= artist.kind.tolerance
    assert abs(last - alone).max() <= artist.kind.tolerance


@for_all
def test_another_seed_gives_another_image(artist: Artist) -> None:
    wanted = artist.request(seed=1)
    one, other = artist.draw(wanted, with_changes(wanted, seed=2))
    assert abs(one - other).max() > artist.kind.tolerance


@with_a_prompt
def test_another_prompt_gives_another_image(artist: Artist) -> None:
    one, other = artist.draw(artist.request("a red car"), artist.request("a blue house"))
    assert abs(one - other).max() > artist.kind.tolerance


@for_all
def test_the_watch_hears_each_step_up_to_the_last(artist: Artist) -> None:
    reporter = RecordingReporter()
    artist.generator.generate([artist.request(), artist.request(seed=2)], reporter)
    total = artist.kind.counts(artist.request())
    assert reporter.heard == [(done, total) for done in range(total + 1)]


@for_all
def test_a_watch_that_stops_leaves_within_any_step_and_the_generator_goes_on(artist: Artist) -> None:
    (before,) = artist.draw(artist.request())
    total = artist.kind.counts(artist.request())
    for stop_at in range(total):
        reporter = RecordingReporter(stop_at=stop_at)
        with pytest.raises(Stopped):
            artist.generator.generate([artist.request()], reporter)
        assert reporter.heard == [(done, total) for done in range(stop_at + 1)]
    (after,) = artist.draw(artist.request())
    assert (after == before).all()


@for_all
def test_a_negative_prompt_is_heard_or_refused(artist: Artist) -> None:
    plain, other = artist.request(), artist.request(seed=2)
    negative = with_changes(plain, negative_prompt="blurred")
    if not artist.kind.hears_negative_prompts:
        with pytest.raises(GenerationError, match="takes no negative_prompt") as refusal:
            artist.draw(negative, other)
        assert not refusal.value.retryable
        return
    without, with_it = artist.draw(plain, other), artist.draw(negative, other)
    assert abs(without[0] - with_it[0]).max() > artist.kind.tolerance
    assert abs(without[1] - with_it[1]).max() <= artist.kind.tolerance


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
