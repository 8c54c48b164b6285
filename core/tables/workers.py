"""Workers that run. Which worker has a job is in the job's row; this table only says who could take one."""

from sqlalchemy import BigInteger, Boolean, Column, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from core.tables.base import Time, metadata

workers = Table(
    "workers",
    metadata,
    Column("name", Text, primary_key=True, comment="host and pid"),
    Column("queues", ARRAY(Text), nullable=False),
    Column("is_ready", Boolean, nullable=False, comment="false: it loads its first model"),
    Column("expires_at", Time, nullable=False, comment="the worker renews it, as the lease of a job"),
    # What it reports about itself; null: a worker of an earlier version, or not known
    Column("renewed_at", Time, comment="the last heartbeat"),
    Column("device", Text, comment="null: none is used yet, or at all"),
    Column("loaded_models", ARRAY(Text), comment="the one used last comes last"),
    Column("resident_bytes", BigInteger, comment="RAM of the process"),
    Column("device_bytes", BigInteger, comment="weights of the loaded models"),
    Column("device_capacity", BigInteger, comment="bytes that weights may take"),
    Column("models", JSONB, comment="by id: whether it is loaded, or why it cannot be"),
    postgresql_with={"fillfactor": "50"},
)
