"""How long the deliverer waits between two claims because of changes.

Most changes of a busy service have no webhook, and a claim that takes nothing costs a round trip to the database. So
the pause grows while claims take nothing, and an event that comes after a quiet time is claimed at once.
"""

MIN_SECONDS = 0.002
"""After a claim that took something: changes that come together share a claim."""

MAX_SECONDS = 0.02
"""The longest pause, also the longest that a change waits for its claim."""


class ClaimPause:
    """The pause after the last claim. seconds: its length."""

    def __init__(self) -> None:
        self.seconds = MIN_SECONDS

    def record(self, *, is_change: bool, count: int) -> None:
        """Record a claim: whether a change was its reason, and how many deliveries it took."""
        if count:
            self.seconds = MIN_SECONDS
        elif is_change:
            self.seconds = min(MAX_SECONDS, 2 * self.seconds)
