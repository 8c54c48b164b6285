"""Images that a provider was paid for and that are not in storage yet."""

from sqlalchemy import Column, ForeignKey, LargeBinary, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from core.tables.base import NOW, Time, metadata

paid_images = Table(
    "paid_images",
    metadata,
    Column("job_id", Text, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("images", ARRAY(LargeBinary), nullable=False, comment="PNG files"),
    Column("receipt", JSONB, nullable=False, comment="the provider's part of the receipts"),
    Column("created_at", Time, nullable=False, server_default=NOW),
)
