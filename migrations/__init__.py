"""Alembic migrations, one noun a revision. `upgrade` brings a database to the newest."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory


def upgrade(revision: str = "head") -> None:
    """Bring the database of SAFELIGHT_DATABASE_URL to a revision. Safe to run by several processes at once."""
    command.upgrade(_config(), revision)


def newest() -> str | None:
    """The revision that this code wants."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config
