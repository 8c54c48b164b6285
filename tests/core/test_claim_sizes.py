"""The size of claims: several passes in one micro-batch, as long as it takes little time."""

from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

from core import submits
from core.db import Database
from core.rows.job import JobRow
from tests.factories import a_job, claim, submit_prompts
from tests.stack import CATALOG, settings_of
from worker.generation import microbatch
from worker.generation.claim_sizes import MAX_KEYS, ClaimSizes
from worker.generation.context import Context
from worker.moderation.moderator import Moderator


def claim_rows(database: Database, sizes: ClaimSizes) -> Sequence[JobRow]:
    return database.execute(claim(uuid4(), limits=sizes.current()))


def record(sizes: ClaimSizes, rows: Sequence[JobRow], seconds_per_image: float) -> None:
    sizes.record("generate", rows, len(rows) * seconds_per_image / 2)
    sizes.record("store", rows, len(rows) * seconds_per_image)


def test_claims_grow_while_their_jobs_take_little_time(database: Database) -> None:
    database.execute(submits.submit(*(a_job(microbatch_size=2) for _ in range(120))))
    sizes = ClaimSizes()
    counts = []
    for seconds_per_image in (0.002, 0.002, 0.002, 0.002, 0.002, 0.2, 0.2):
        rows = claim_rows(database, sizes)
        counts.append(len(rows))
        record(sizes, rows, seconds_per_image)

    assert counts == [2, 4, 8, 16, 32, 50, 2]


def test_a_micro_batch_that_does_not_fill_a_pass_says_nothing(database: Database) -> None:
    database.execute(submits.submit(a_job(microbatch_size=8)))
    sizes = ClaimSizes()
    record(sizes, claim_rows(database, sizes), 0.0001)

    assert sizes.current() == {}


def test_a_micro_batch_whose_jobs_fail_says_nothing(database: Database, tmp_path: Path) -> None:
    (tmp_path / "catalog.toml").write_text(CATALOG)
    environment = {
        "SAFELIGHT_DATABASE_URL": database.engine.url.render_as_string(hide_password=False),
        "SAFELIGHT_REDIS_URL": "redis://127.0.0.1:1/0",
        "SAFELIGHT_DATA_DIR": str(tmp_path),
        "SAFELIGHT_CATALOG": str(tmp_path / "catalog.toml"),
    }
    context = Context.open(settings_of(environment), Moderator([]))
    submit_prompts(database, "[refuse]", "[refuse] too", microbatch_size=2)

    assert microbatch.run(context, "local")

    assert context.claim_limits == {}
    submit_prompts(database, "a cat", "a dog", microbatch_size=2)
    assert microbatch.run(context, "local")
    assert context.claim_limits == {"fake": 4}
    context.database.close()


def test_the_sizes_of_old_kinds_are_forgotten(database: Database) -> None:
    database.execute(submits.submit(*(a_job(microbatch_size=1, microbatch_key=f"{n}") for n in range(MAX_KEYS + 1))))
    sizes = ClaimSizes()
    for _ in range(MAX_KEYS + 1):
        record(sizes, claim_rows(database, sizes), 0.001)

    assert len(sizes.current()) == MAX_KEYS
