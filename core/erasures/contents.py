"""What an erasure deletes: the jobs of its subject, their files, batches, and all that mentions them.

Each function builds one SQL statement. The caller deletes the objects in storage before the rows. Rows that reference a
job or a batch (events, images, deliveries) go with it: their foreign keys cascade.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from core import jobs as verbs
from core.db import Statement
from core.erasures.records import ErasureRow
from core.idempotency import ERASED
from core.metadata_keys import END_USER_KEYS
from core.parameters.control import CONTROL_ROLES
from core.parameters.reference_images import REFERENCE_ROLES
from core.retention import batch_is_recorded
from core.rows.file import ExpiredFile, FileRow
from core.rows.job import JobRow
from core.status import FINAL
from core.tables import (
    batches,
    erasures,
    files,
    idempotency_keys,
    images,
    in_status,
    jobs,
    provider_calls,
    webhook_deliveries,
    webhook_endpoints,
)

_NO_INPUTS: sa.ColumnElement[Any] = sa.literal_column("'{}'::jsonb")
"""As a constant: a query must imply the predicate of the index to use it."""


@dataclass(slots=True)
class RowCounts:
    """How many rows of each kind a statement deleted."""

    jobs: int
    images: int
    batches: int
    deliveries: int
    idempotency_keys: int
    provider_calls: int


def _is_of(erasure: ErasureRow) -> list[sa.ColumnElement[bool]]:
    """The condition for the jobs of an erasure's subject."""
    in_project = jobs.c.project_id == erasure.project_id
    match erasure.kind:
        case "job":
            return [in_project, jobs.c.id == erasure.subject]
        case "batch":
            return [in_project, jobs.c.batch_id == erasure.subject]
        case "user":
            is_of_user = sa.or_(*(jobs.c.metadata.contains({key: erasure.subject}) for key in END_USER_KEYS))
            return [in_project, is_of_user, jobs.c.metadata != _NO_INPUTS]
        case _:
            return [in_project]


def cancel_jobs(erasure: ErasureRow, limit: int) -> Statement[JobRow]:
    """Cancel up to `limit` jobs. No row is returned when no job is left to cancel."""
    return verbs.cancel_jobs(limit, *_is_of(erasure))


def list_open_batches(erasure: ErasureRow) -> Statement[str]:
    """The batches that are to be cancelled before they can be deleted."""
    return Statement(sa.select(batches.c.id).where(_is_batch_of(erasure), batches.c.counts.is_(None)), str)


def _is_batch_of(erasure: ErasureRow) -> sa.ColumnElement[bool]:
    in_project = batches.c.project_id == erasure.project_id
    match erasure.kind:
        case "batch":
            return sa.and_(in_project, batches.c.id == erasure.subject)
        case "project":
            return in_project
        case _:
            return sa.false()


def list_jobs(erasure: ErasureRow, limit: int) -> Statement[str]:
    """Ids of jobs that can be deleted: they are final, and their batch has recorded them."""
    return Statement(
        sa.select(jobs.c.id).where(*_is_of(erasure), in_status(*FINAL), batch_is_recorded()).limit(limit), str
    )


def find_remaining(erasure: ErasureRow) -> Statement[str]:
    """A row if a job or a batch of the subject is left."""
    left = sa.union_all(
        sa.select(jobs.c.id).where(*_is_of(erasure)).limit(1).subquery().select(),
        sa.select(batches.c.id).where(_is_batch_of(erasure)).limit(1).subquery().select(),
    )
    return Statement(left, str)


def list_batches_of_lines(erasure: ErasureRow) -> Statement[str]:
    """The recorded batches whose files contain lines of the subject, which itself is no batch."""
    of_jobs = sa.select(jobs.c.batch_id).where(*_is_of(erasure), jobs.c.batch_id.is_not(None), batch_is_recorded())
    of_deleted_job = sa.select(erasures.c.batch_id).where(erasures.c.id == erasure.id, erasures.c.batch_id.is_not(None))
    is_recorded = ~sa.exists().where(batches.c.id == erasure.batch_id, batches.c.counts.is_(None))
    return Statement(sa.union(of_jobs, of_deleted_job.where(is_recorded)), str)


def list_lines(erasure: ErasureRow, batch_id: str) -> Statement[str]:
    """The ids of jobs whose lines in a batch's files are to be deleted.

    Jobs of the batch that were deleted one by one have an erasure each: all of them are listed, so that the files are
    written anew once.
    """
    of_jobs = sa.select(jobs.c.id).where(*_is_of(erasure), jobs.c.batch_id == batch_id)
    of_deleted_jobs = sa.select(erasures.c.subject).where(
        erasures.c.finished_at.is_(None), erasures.c.kind == "job", erasures.c.batch_id == batch_id
    )
    return Statement(sa.union(of_jobs, of_deleted_jobs), str)


def list_output_files(project_id: str, batch_ids: Collection[str]) -> Statement[FileRow]:
    """The output and error files of batches, by their names: the row of the batch may be deleted already."""
    names = [f"{batch_id}_{kind}.jsonl" for batch_id in batch_ids for kind in ("output", "error")]
    return Statement(
        sa.select(files).where(
            files.c.project_id == project_id, files.c.purpose == "batch_output", _is_any_of(files.c.filename, names)
        ),
        FileRow,
    )


def list_input_files(project_id: str, batch_ids: Collection[str]) -> Statement[FileRow]:
    """The input files of batches that no other batch has."""
    other = batches.alias("other")
    of_other = sa.select(other.c.id).where(
        other.c.project_id == project_id, other.c.input_file_id == files.c.id, ~_is_any_of(other.c.id, batch_ids)
    )
    of_batches = sa.select(batches.c.input_file_id).where(_is_any_of(batches.c.id, batch_ids))
    return Statement(
        sa.select(files).where(
            files.c.project_id == project_id, files.c.id.in_(of_batches), ~of_other.correlate(files).exists()
        ),
        FileRow,
    )


def move_file(row: FileRow, storage_key: str, size: int) -> Statement[str]:
    """Let a file have the content of another object. No row is returned if it was changed or deleted meanwhile."""
    statement = sa.update(files).where(files.c.id == row.id, files.c.storage_key == row.storage_key)
    return Statement(statement.values(storage_key=storage_key, bytes=size).returning(files.c.id), str)


def list_unused_inputs(project_id: str, job_ids: Sequence[str], *, uploads: bool) -> Statement[ExpiredFile]:
    """The input images of jobs that no other job uses. uploads: also those that were uploaded as files."""
    input_id = sa.func.jsonb_each_text(jobs.c.inputs).table_valued("key", "value").render_derived("entry")
    of_jobs = (
        sa.select(input_id.c.value).select_from(jobs.join(input_id, sa.true())).where(_is_any_of(jobs.c.id, job_ids))
    )
    other = jobs.alias("other")
    uses_it = sa.or_(
        *(
            other.c.inputs.contains(sa.func.jsonb_build_object(name, files.c.id))
            for name in ("image", "mask", *REFERENCE_ROLES, *CONTROL_ROLES)
        )
    )
    of_other = sa.select(other.c.id).where(other.c.inputs != _NO_INPUTS, uses_it, ~_is_any_of(other.c.id, job_ids))
    statement = sa.select(files.c.id, files.c.storage_key).where(
        files.c.project_id == project_id, files.c.id.in_(of_jobs), ~of_other.correlate(files).exists()
    )
    return Statement(statement if uploads else statement.where(files.c.is_copy), ExpiredFile)


def delete_files(project_id: str, file_ids: Sequence[str]) -> Statement[str]:
    """Delete the rows of files. The caller has deleted their objects before."""
    statement = sa.delete(files).where(files.c.project_id == project_id, _is_any_of(files.c.id, file_ids))
    return Statement(statement.returning(files.c.id), str)


def list_files(project_id: str, limit: int) -> Statement[ExpiredFile]:
    """Files of a project, of any kind."""
    statement = sa.select(files.c.id, files.c.storage_key).where(files.c.project_id == project_id)
    return Statement(statement.limit(limit), ExpiredFile)


def delete_jobs(project_id: str, job_ids: Sequence[str]) -> Statement[RowCounts]:
    """Delete final jobs and all that mentions them. The caller has deleted their objects before."""
    is_deletable = _is_any_of(jobs.c.id, job_ids), jobs.c.project_id == project_id
    deleted = (
        sa.delete(jobs)
        .where(*is_deletable, in_status(*FINAL), batch_is_recorded())
        .returning(jobs.c.id)
        .cte("deleted_jobs")
    )
    return _with_counts(project_id, deleted, jobs=deleted, images=_rows_of(images, "job_id", deleted))


def delete_batches(project_id: str, batch_ids: Sequence[str]) -> Statement[RowCounts]:
    """Delete final batches that have no jobs left. The caller has deleted their files before."""
    has_jobs = sa.select(sa.literal(1)).where(jobs.c.batch_id == batches.c.id, jobs.c.batch_id.is_not(None))
    deleted = (
        sa.delete(batches)
        .where(
            batches.c.project_id == project_id,
            _is_any_of(batches.c.id, batch_ids),
            batches.c.counts.is_not(None),
            ~has_jobs.correlate(batches).exists(),
        )
        .returning(batches.c.id)
        .cte("deleted_batches")
    )
    return _with_counts(project_id, deleted, batches=deleted)


def list_batches(erasure: ErasureRow, limit: int) -> Statement[str]:
    """Final batches of the subject that have no jobs left."""
    has_jobs = sa.select(sa.literal(1)).where(jobs.c.batch_id == batches.c.id, jobs.c.batch_id.is_not(None))
    is_deletable = _is_batch_of(erasure), batches.c.counts.is_not(None), ~has_jobs.correlate(batches).exists()
    return Statement(sa.select(batches.c.id).where(*is_deletable).limit(limit), str)


def delete_keys(project_id: str, limit: int) -> Statement[str]:
    """Delete up to `limit` idempotency keys of a project, whatever they are about."""
    return _delete_some(idempotency_keys, idempotency_keys.c.key, project_id, limit)


def delete_calls(project_id: str, limit: int) -> Statement[str]:
    """Delete up to `limit` provider calls of a project."""
    return _delete_some(provider_calls, provider_calls.c.id, project_id, limit)


def delete_endpoints(project_id: str, limit: int) -> Statement[str]:
    """Delete up to `limit` webhook endpoints of a project."""
    return _delete_some(webhook_endpoints, webhook_endpoints.c.id, project_id, limit)


def _delete_some(table: sa.Table, key: sa.Column[Any], project_id: str, limit: int) -> Statement[str]:
    pick = (
        sa.select(key.label("key"))
        .where(table.c.project_id == project_id)
        .limit(limit)
        .cte("pick")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    return Statement(sa.delete(table).where(table.c.project_id == project_id, key == pick.c.key).returning(key), str)


def _rows_of(table: sa.Table, column: str, deleted: sa.CTE) -> sa.Select[Any]:
    """The rows that go with others: a statement still sees what its other parts delete."""
    return sa.select(table.c[column]).where(table.c[column].in_(sa.select(deleted.c.id)))


def _with_counts(project_id: str, deleted: sa.CTE, **deletions: sa.CTE | sa.Select[Any]) -> Statement[RowCounts]:
    """Also clear the idempotent responses about the subjects, and what identifies their requests at a provider."""
    subjects = sa.select(deleted.c.id)
    # The key stays until it expires, so that a late repetition of the request does not generate the image again.
    keys = (
        sa.update(idempotency_keys)
        .where(idempotency_keys.c.project_id == project_id, sa.literal_column("(response ->> 'id')").in_(subjects))
        .values(fingerprint=ERASED, response={})
        .returning(idempotency_keys.c.key)
        .cte("cleared_keys")
    )
    # What was paid for outlives its job, but not the hash of its prompt, nor the provider's name of the request.
    calls = (
        sa.update(provider_calls)
        .where(provider_calls.c.job_id.in_(subjects))
        .values(request_hash=b"", provider_request_id=None)
        .returning(provider_calls.c.id)
        .cte("cleared_calls")
    )
    subject_column = "batch_id" if "batches" in deletions else "job_id"
    rows_by_name: dict[str, sa.CTE | sa.Select[Any]] = {
        "jobs": sa.select(sa.literal(1)).where(sa.false()),
        "images": sa.select(sa.literal(1)).where(sa.false()),
        "batches": sa.select(sa.literal(1)).where(sa.false()),
        "deliveries": _rows_of(webhook_deliveries, subject_column, deleted),
        "idempotency_keys": keys,
        "provider_calls": calls,
        **deletions,
    }
    columns = [
        sa.select(sa.func.count())
        .select_from(rows if isinstance(rows, sa.CTE) else rows.subquery())
        .scalar_subquery()
        .label(name)
        for name, rows in rows_by_name.items()
    ]
    return Statement(sa.select(*columns).add_cte(deleted, keys, calls), RowCounts)


def _is_any_of(column: sa.ColumnElement[str], values: Collection[str]) -> sa.ColumnElement[bool]:
    return column == sa.any_(sa.literal(list(values), ARRAY(sa.Text)))
