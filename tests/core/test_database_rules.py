"""What the database's tables themselves refuse, and that the migrations make the tables the code speaks of."""

from uuid import uuid4

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.exc import IntegrityError

from core import jobs
from core.db import Database
from core.status import JobStatus
from core.tables import job_events, metadata
from core.tables import jobs as table
from tests.core.test_verbs import a_job, in_state


def test_the_migrations_make_the_tables_of_the_code(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


@pytest.mark.parametrize(
    "broken",
    [
        {"status": "in_progress"},  # without a lease
        {"lease": uuid4(), "lease_expires_at": sa.func.now()},  # while queued
        {"status": "completed"},  # without a time
        {"status": "failed", "finished_at": sa.func.now()},  # without an error
        {"status": "lost"},
        {"n": 0},
        {"operation": "edit", "inputs": {"image": "file-x"}},  # without a strength
        {"operation": "variation"},  # without an image
        {"inputs": {"image": "file-x"}},  # of a generation
        {"seed": 2**32},
    ],
)
def test_a_row_that_contradicts_itself_is_refused(database: Database, broken: dict[str, object]) -> None:
    in_state(database, JobStatus.QUEUED)

    with pytest.raises(IntegrityError):
        database.execute(sa.update(table).values(broken))


def test_a_job_has_only_one_final_event(database: Database) -> None:
    job_id, _ = in_state(database, JobStatus.COMPLETED)

    with pytest.raises(IntegrityError):
        database.execute(sa.insert(job_events).values(job_id=job_id, type="job.failed"))


def test_an_id_is_submitted_once(database: Database) -> None:
    job = a_job()
    database.execute(jobs.submit(job))

    with pytest.raises(IntegrityError):
        database.execute(jobs.submit(job))
