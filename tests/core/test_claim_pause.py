"""The deliverer claims at once after a quiet time, and seldom while changes concern no webhook."""

from worker.webhooks.claim_pause import MAX_SECONDS, MIN_SECONDS, ClaimPause


def test_the_pause_grows_while_changes_bring_nothing_and_ends_with_the_first_delivery() -> None:
    pause = ClaimPause()
    for _ in range(10):
        pause.record(is_change=True, count=0)
    assert pause.seconds == MAX_SECONDS

    pause.record(is_change=True, count=1)
    assert pause.seconds == MIN_SECONDS


def test_a_claim_after_a_delivery_that_has_ended_leaves_the_pause_as_it_is() -> None:
    pause = ClaimPause()
    for _ in range(10):
        pause.record(is_change=False, count=0)
    assert pause.seconds == MIN_SECONDS
