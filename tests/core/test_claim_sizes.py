"""The size of claims: several passes in one micro-batch, as long as it takes little time."""

from collections.abc import Sequence
from uuid import uuid4

from core import jobs
from core.db import Database
from core.rows.job import JobRow
from tests.factories import a_job, claim
from worker.generation.claim_sizes import MAX_KEYS, ClaimSizes


def claim_rows(database: Database, sizes: ClaimSizes) -> Sequence[JobRow]:
    return database.execute(claim(uuid4(), limits=sizes.current()))


def record(sizes: ClaimSizes, rows: Sequence[JobRow], seconds_per_image: float) -> None:
    sizes.record("generate", rows, len(rows) * seconds_per_image / 2)
    sizes.record("store", rows, len(rows) * seconds_per_image)


def test_claims_grow_while_their_jobs_take_little_time(database: Database) -> None:
    database.execute(jobs.submit(*(a_job(microbatch_size=2) for _ in range(120))))
    sizes = ClaimSizes()
    counts = []
    for seconds_per_image in (0.002, 0.002, 0.002, 0.002, 0.002, 0.2, 0.2):
        rows = claim_rows(database, sizes)
        counts.append(len(rows))
        record(sizes, rows, seconds_per_image)

    assert counts == [2, 4, 8, 16, 32, 50, 2]


def test_a_micro_batch_that_does_not_fill_a_pass_says_nothing(database: Database) -> None:
    database.execute(jobs.submit(a_job(microbatch_size=8)))
    sizes = ClaimSizes()
    record(sizes, claim_rows(database, sizes), 0.0001)

    assert sizes.current() == {}


def test_the_sizes_of_old_kinds_are_forgotten(database: Database) -> None:
    database.execute(jobs.submit(*(a_job(microbatch_size=1, microbatch_key=f"{n}") for n in range(MAX_KEYS + 1))))
    sizes = ClaimSizes()
    for _ in range(MAX_KEYS + 1):
        record(sizes, claim_rows(database, sizes), 0.001)

    assert len(sizes.current()) == MAX_KEYS
