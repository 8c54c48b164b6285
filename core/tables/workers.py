"""Workers that run. Which worker has a job is in the job's row; this table only says who could take one."""

from sqlalchemy import Boolean, Column, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY

from core.tables.base import Time, metadata

workers = Table(
    "workers",
    metadata,
    Column("name", Text, primary_key=True, comment="host and pid"),
    Column("queues", ARRAY(Text), nullable=False),
    Column("is_ready", Boolean, nullable=False, comment="false: it loads its first model"),
    Column("expires_at", Time, nullable=False, comment="the worker renews it, as the lease of a job"),
    postgresql_with={"fillfactor": "50"},
)
