"""How much each project stores: counted by the sweep, some rows at a time, into one row per project."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, insert

from core.clock import NOW
from core.db import Statement
from core.tables import files, fine_tuned_models, images, storage_use

MAX_PROJECTS = 1000
"""Projects that a list has, at most."""

Kind = Literal["images", "files", "models"]
_TABLES = {"images": images, "files": files, "models": fine_tuned_models}


@dataclass(slots=True)
class StorageCount:
    """The images, files or fine-tuned models of a project, among those of one chunk. last_id: the last of the chunk."""

    project_id: str
    number: int
    bytes: int
    last_id: str


@dataclass(slots=True)
class ProjectStorage:
    """What a project stores, without its row."""

    images: int = 0
    image_bytes: int = 0
    files: int = 0
    file_bytes: int = 0
    models: int = 0
    model_bytes: int = 0


@dataclass(slots=True)
class StorageUse(ProjectStorage):
    """What a project stored when it was last counted."""

    project_id: str = ""
    counted_at: datetime | None = None


def count_chunk(kind: Kind, after: str, limit: int) -> Statement[StorageCount]:
    """The images, files or models with the `limit` next ids, by project. No row: there are no further ones."""
    table = _TABLES[kind]
    chunk = (
        sa.select(table.c.id, table.c.project_id, table.c.bytes)
        .where(table.c.id > after)
        .order_by(table.c.id)
        .limit(limit)
        .cte("chunk")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    last = sa.select(sa.func.max(chunk.c.id)).scalar_subquery()
    return Statement(
        sa.select(
            chunk.c.project_id,
            sa.func.count().label("number"),
            sa.cast(sa.func.sum(chunk.c.bytes), sa.BigInteger).label("bytes"),
            last.label("last_id"),
        ).group_by(chunk.c.project_id),
        StorageCount,
    )


def record(totals: Mapping[str, ProjectStorage]) -> Statement[str]:
    """Replace what is recorded of all projects. Those that store nothing have no row."""
    names = ("project_id", *ProjectStorage.__dataclass_fields__)
    columns = [storage_use.c[name] for name in names]
    array: Sequence[Mapping[str, object]] = [
        {"project_id": project_id, **asdict(total)} for project_id, total in totals.items()
    ]
    new = (
        sa.func.jsonb_to_recordset(sa.literal(array, JSONB))
        .table_valued(*(sa.column(column.name, column.type) for column in columns))
        .render_derived(name="new", with_types=True)
    )
    is_absent = storage_use.c.project_id.not_in(sa.select(new.c.project_id))
    deleted_rows = sa.delete(storage_use).where(is_absent).cte("deleted_rows")
    upsert = insert(storage_use).from_select([*(column.name for column in columns), "counted_at"], sa.select(new, NOW))
    values = {column.name: upsert.excluded[column.name] for column in (*columns[1:], storage_use.c.counted_at)}
    statement = upsert.on_conflict_do_update(index_elements=[storage_use.c.project_id], set_=values)
    return Statement(statement.returning(storage_use.c.project_id).add_cte(deleted_rows), str)


def list_use() -> Statement[StorageUse]:
    """What projects store, those with the most bytes first, at most MAX_PROJECTS."""
    columns = (storage_use.c[name] for name in StorageUse.__dataclass_fields__)
    size = storage_use.c.image_bytes + storage_use.c.file_bytes + storage_use.c.model_bytes
    return Statement(
        sa.select(*columns).order_by(size.desc(), storage_use.c.project_id).limit(MAX_PROJECTS), StorageUse
    )
