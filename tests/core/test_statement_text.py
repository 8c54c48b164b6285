"""Statements that are built once: their constants, their values, and what they raise."""

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from core.db import UNAVAILABLE, Database, Statement
from core.statement_text import text_of

CITY = sa.bindparam("places", type_=JSONB)["city"].astext
PLACES = sa.select(sa.literal("100% 'sure' $1 \\") + sa.func.coalesce(CITY, "?"))
END_BACKEND = sa.select(sa.cast(sa.func.pg_terminate_backend(sa.func.pg_backend_pid()), sa.Text)).where(
    sa.bindparam("is_real", type_=sa.Boolean)
)


def test_constants_stand_in_the_text_and_values_are_sent_with_it(database: Database) -> None:
    (place,) = database.execute(Statement(PLACES, str, {"places": {"city": "Saint-Lô, 'quoted' $1"}}))
    (nothing,) = database.execute(Statement(PLACES, str, {"places": None}))

    assert [name for name, _ in text_of(PLACES).parameters] == ["places"]
    assert place == "100% 'sure' $1 \\Saint-Lô, 'quoted' $1"
    assert nothing.endswith("?")
    with pytest.raises(KeyError):
        text_of(PLACES).bind({})


def test_a_connection_that_breaks_is_replaced(database: Database) -> None:
    with pytest.raises(UNAVAILABLE):
        database.execute(Statement(END_BACKEND, str, {"is_real": True}))

    (place,) = database.execute(Statement(PLACES, str, {"places": {"city": "Oslo"}}))
    assert place.endswith("Oslo")
