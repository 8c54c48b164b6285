"""Limits of projects and keys: what is reserved, given back and refused, and that parallel submits exceed nothing."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from core import jobs, limits, submits
from core.db import Database
from core.errors import SafelightError
from core.limit_errors import InsufficientQuota, TooManyJobs
from core.limits import Amount, Limits, Subject, amount_of_jobs
from core.new_job import NewJob
from core.rows.usage import LimitRow
from core.tables import DEFAULT_PROJECT, limit_use
from core.tables import jobs as table
from tests.factories import a_job, an_image, claim
from tests.stack import settings_of

KEY = "key_a"


def project(**values: Any) -> Subject:
    return Subject(DEFAULT_PROJECT, DEFAULT_PROJECT, Limits(**values))


def key(**values: Any) -> Subject:
    return Subject(KEY, DEFAULT_PROJECT, Limits(**values))


def reserve(
    database: Database, subjects: Sequence[Subject], amount: Amount, job: NewJob | None = None
) -> SafelightError | None:
    """Reserve an amount and submit jobs in one transaction. Returns why it was refused."""
    steps = limits.reservation(subjects, amount)
    with database.transaction() as transaction:
        try:
            statement = next(steps)
            while True:
                statement = steps.send(transaction.execute(statement))
        except StopIteration as end:
            if end.value is not None:
                transaction.rollback()
                error: SafelightError = end.value
                return error
        if job is not None:
            transaction.execute(submits.submit(job))
    return None


def submit(database: Database, subjects: Sequence[Subject], **fields: Any) -> str | None:
    """Submit a job within the limits. Returns its id, or None if it was refused."""
    job = a_job(**fields)
    error = reserve(database, subjects, amount_of_jobs(1, job.cost, job.provider_usd), job)
    return None if error else job.id


def test_jobs_at_once_are_given_back_when_they_end(database: Database) -> None:
    subjects = [project(jobs=2)]
    first = submit(database, subjects)
    second = submit(database, subjects)

    assert first is not None
    assert second is not None
    assert submit(database, subjects) is None
    database.execute(jobs.cancel(DEFAULT_PROJECT, first))
    assert submit(database, subjects) is not None
    assert submit(database, subjects) is None


def test_device_seconds_are_reserved_by_estimate_and_settled_by_real_time(database: Database) -> None:
    subjects = [project(device_seconds_per_day=10.0)]
    job_id = submit(database, subjects, cost=6.0)
    assert job_id is not None
    assert submit(database, subjects, cost=6.0) is None

    lease = uuid4()
    database.execute(claim(lease))
    receipt = {"device_seconds": 3.0, "microbatch": 1}
    database.execute(jobs.complete(job_id, lease, [{**an_image(job_id), "receipt": receipt}]))

    assert submit(database, subjects, cost=6.0) is not None
    assert submit(database, subjects, cost=6.0) is None
    (use,) = database.execute(limits.get_use([DEFAULT_PROJECT]))
    assert use.device_seconds == 9.0


def test_dollars_are_reserved_and_given_back_by_a_cancel(database: Database) -> None:
    subjects = [project(provider_usd_per_month=1.0)]
    first = submit(database, subjects, provider_usd=0.7)
    assert first is not None
    assert submit(database, subjects, provider_usd=0.7) is None
    assert submit(database, subjects, cost=1e6) is not None  # a local job costs no dollars

    database.execute(jobs.cancel(DEFAULT_PROJECT, first))

    assert submit(database, subjects, provider_usd=0.7) is not None


def test_a_key_and_its_project_are_both_limited_and_a_refusal_reserves_nothing(database: Database) -> None:
    both = [project(jobs=3), key(jobs=2)]
    for _ in range(2):
        assert submit(database, both, api_key_id=KEY) is not None

    assert submit(database, both, api_key_id=KEY) is None
    assert submit(database, [project(jobs=3)]) is not None  # by another key of the project
    assert submit(database, [project(jobs=3)]) is None
    uses = {use.subject_id: use.jobs for use in database.execute(limits.get_use([DEFAULT_PROJECT, KEY]))}
    assert uses == {DEFAULT_PROJECT: 3, KEY: 2}


def test_stored_bytes_are_those_of_images_and_files(database: Database) -> None:
    subjects = [project(stored_bytes=250)]
    job_id = submit(database, subjects)
    assert job_id is not None
    lease = uuid4()
    database.execute(claim(lease))
    database.execute(jobs.complete(job_id, lease, [an_image(job_id)]))  # 100 bytes
    with database.transaction() as transaction:
        transaction.execute(limits.lock_stale(-timedelta(seconds=1)))
        transaction.execute(limits.count_again(DEFAULT_PROJECT, DEFAULT_PROJECT))

    assert reserve(database, subjects, Amount(stored_bytes=200)) is not None
    assert reserve(database, subjects, Amount(stored_bytes=150)) is None
    assert submit(database, subjects) is not None  # its reservation was for no row: it is counted again


def test_a_new_day_begins_with_what_is_still_queued(database: Database) -> None:
    subjects = [project(device_seconds_per_day=10.0)]
    assert submit(database, subjects, cost=4.0) is not None
    database.execute(sa.update(limit_use).values(day=sa.text("current_date - 40"), device_seconds=10.0))

    assert submit(database, subjects, cost=4.0) is not None
    assert submit(database, subjects, cost=4.0) is None


@pytest.mark.parametrize(
    ("values", "amount", "kind", "words"),
    [
        ({"jobs": 0}, Amount(jobs=1), TooManyJobs, "0 jobs queued and running at once: 0 are queued"),
        ({"device_seconds_per_day": 5.0}, Amount(1, 0, 6.0), InsufficientQuota, "5 device-seconds a day: 0 are used"),
        ({"provider_usd_per_month": 1.5}, Amount(1, 0, 0, 2.0), InsufficientQuota, "first day of the next month"),
        ({"stored_bytes": 9}, Amount(stored_bytes=10), InsufficientQuota, "Delete jobs or files"),
    ],
)
def test_a_refusal_names_the_limit_the_use_and_the_reset(
    database: Database, values: dict[str, Any], amount: Amount, kind: type[SafelightError], words: str
) -> None:
    error = reserve(database, [project(**values)], amount)

    assert isinstance(error, kind)
    assert words in error.message


def test_parallel_submits_of_one_project_fill_its_limit_exactly(database: Database) -> None:
    subjects = [project(jobs=20, device_seconds_per_day=1000.0), key(jobs=30)]
    with ThreadPoolExecutor(12) as threads:
        results = list(threads.map(lambda _: submit(database, subjects, api_key_id=KEY), range(48)))

    assert sum(result is not None for result in results) == 20
    assert database.execute(sa.select(sa.func.count()).select_from(table))[0][0] == 20


def test_own_limits_precede_those_of_the_settings() -> None:
    settings = settings_of({"SAFELIGHT_LIMIT_JOBS": "10", "SAFELIGHT_LIMIT_STORED_BYTES": "100"})
    row = LimitRow(DEFAULT_PROJECT, None, 5, limits.UNLIMITED, None, None)
    of_key = LimitRow(KEY, 60, None, None, None, None)

    (subject,) = limits.subjects_of([row], settings, DEFAULT_PROJECT, None)
    with_key = limits.subjects_of([of_key], settings, DEFAULT_PROJECT, KEY)

    assert subject.limits == Limits(jobs=5)
    assert with_key == [project(jobs=10, stored_bytes=100), key(requests_per_minute=60)]
    assert limits.subjects_of([], settings_of({}), DEFAULT_PROJECT, KEY) == []
