"""What all tables share: the names of constraints, the clock, the ids of events."""

from collections.abc import Iterable

from sqlalchemy import DateTime, MetaData, text

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Time = DateTime(timezone=True)
NOW = text("clock_timestamp()")


EVENT_ID = text(
    "'evt_' || lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0')"
    " || left(replace(gen_random_uuid()::text, '-', ''), 20)"
)
"""The id of an event: evt_, 12 hex digits of milliseconds, 20 of randomness. Deliveries (whd_) have the same form.

All other ids are generated in Python, in another form (`core/ids.py`). Both sort by time.
"""


def one_of(column: str, values: Iterable[str]) -> str:
    """SQL for: a column has one of these values."""
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"
