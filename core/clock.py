"""The database's clock. A process's own clock decides nothing that other processes rely on."""

import sqlalchemy as sa

NOW = sa.func.clock_timestamp()
"""The time of evaluation, for values that are written. No index can be searched by it."""

STATEMENT_TIME = sa.func.now()
"""The start of the transaction: constant, so that a condition on it can use an index."""
