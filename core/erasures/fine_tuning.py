"""What an erasure deletes of fine-tuning: jobs with their events and models, and the training files of an end user.

The caller deletes the objects in storage before the rows.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from core.db import Statement
from core.erasures.records import ErasureRow
from core.fine_tuning import transitions
from core.idempotency import ERASED
from core.metadata_keys import END_USER_KEYS
from core.rows.file import ExpiredFile
from core.status import FINE_TUNING_FINAL
from core.tables import files, fine_tuning_jobs, idempotency_keys


def _is_of(erasure: ErasureRow) -> sa.ColumnElement[bool]:
    in_project = fine_tuning_jobs.c.project_id == erasure.project_id
    match erasure.kind:
        case "user":
            is_of_user = (fine_tuning_jobs.c.metadata.contains({key: erasure.subject}) for key in END_USER_KEYS)
            return sa.and_(in_project, sa.or_(*is_of_user))
        case "project":
            return in_project
        case _:
            return sa.false()


def cancel_jobs(erasure: ErasureRow) -> Statement[str]:
    """Cancel the jobs that are not final. Their workers write nothing more."""
    return transitions.cancel_jobs(_is_of(erasure))


def list_jobs(erasure: ErasureRow, limit: int) -> Statement[str]:
    """Ids of jobs that can be deleted."""
    is_final = fine_tuning_jobs.c.status.in_(list(FINE_TUNING_FINAL))
    return Statement(sa.select(fine_tuning_jobs.c.id).where(_is_of(erasure), is_final).limit(limit), str)


def list_training_files(erasure: ErasureRow, job_ids: Sequence[str]) -> Statement[ExpiredFile]:
    """The training files of jobs that no other job has."""
    other = fine_tuning_jobs.alias("other")
    of_jobs = sa.select(fine_tuning_jobs.c.training_file).where(_is_any_of(fine_tuning_jobs.c.id, job_ids))
    of_other = sa.select(other.c.id).where(other.c.training_file == files.c.id, ~_is_any_of(other.c.id, job_ids))
    statement = sa.select(files.c.id, files.c.storage_key).where(
        files.c.project_id == erasure.project_id, files.c.id.in_(of_jobs), ~of_other.correlate(files).exists()
    )
    return Statement(statement, ExpiredFile)


def delete_jobs(project_id: str, job_ids: Sequence[str]) -> Statement[str]:
    """Delete final jobs with their events and models, and the idempotent responses about them."""
    deleted = (
        sa.delete(fine_tuning_jobs)
        .where(fine_tuning_jobs.c.project_id == project_id, _is_any_of(fine_tuning_jobs.c.id, job_ids))
        .returning(fine_tuning_jobs.c.id)
        .cte("deleted_jobs")
    )
    keys = (
        sa.update(idempotency_keys)
        .where(
            idempotency_keys.c.project_id == project_id,
            sa.literal_column("(response ->> 'id')").in_(sa.select(deleted.c.id)),
        )
        .values(fingerprint=ERASED, response={})
        .cte("cleared_keys")
    )
    return Statement(sa.select(deleted.c.id).add_cte(deleted, keys), str)


def _is_any_of(column: sa.ColumnElement[str], values: Sequence[str]) -> sa.ColumnElement[bool]:
    return column == sa.any_(sa.literal(list(values), ARRAY(sa.Text)))
