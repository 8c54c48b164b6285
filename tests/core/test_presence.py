"""A worker that loads its first model is alive, and says so with the connections that the health check looks at."""

from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from cli.local.embedded import EmbeddedValkey
from core.db import Database
from tests.stack import CATALOG, settings_of
from tests.waiting import until
from worker.generation.context import Context
from worker.generation.presence import Presence
from worker.moderation.moderator import Moderator

LAST_USE = sa.text(
    "SELECT max(state_change) FROM pg_stat_activity "
    "WHERE application_name = 'safelight-worker' AND datname = current_database()"
)


def test_a_worker_is_healthy_while_it_loads_its_first_model(
    fresh_database: Callable[[], str], valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(CATALOG)
    environment = {
        "SAFELIGHT_CATALOG": str(catalog),
        "SAFELIGHT_DATABASE_URL": fresh_database(),
        "SAFELIGHT_REDIS_URL": valkey.url,
        "SAFELIGHT_DATA_DIR": str(tmp_path),
        "SAFELIGHT_HEARTBEAT": "0.05",
    }
    settings = settings_of(environment)
    context, database = Context.open(settings, Moderator([])), Database(settings, name="test")
    presence = Presence(context, ["local"], lambda _: None)

    with context.device:
        presence.start()
        until(lambda: database.execute(LAST_USE)[0][0] is not None)
        first_use = database.execute(LAST_USE)[0][0]
        until(lambda: database.execute(LAST_USE)[0][0] > first_use)

    context.drain.begin(0)
    presence.join()
    context.database.close()
    database.close()
