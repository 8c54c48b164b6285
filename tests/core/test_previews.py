"""A preview that cannot be made costs nothing but the preview: the image that is paid for still comes."""

from pathlib import Path
from uuid import uuid4

from PIL import Image

from cli.local.embedded import EmbeddedValkey
from core.db import Database
from tests.factories import claim, submit_prompts
from tests.stack import settings_of
from worker.generation.context import Context
from worker.generation.heartbeat import Heartbeat
from worker.generation.progress import MicrobatchReporter
from worker.moderation.moderator import Moderator


def test_a_preview_of_a_provider_that_cannot_be_made_is_left_out(
    database: Database, valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    environment = {
        "SAFELIGHT_DATABASE_URL": database.engine.url.render_as_string(hide_password=False),
        "SAFELIGHT_REDIS_URL": valkey.url,
        "SAFELIGHT_DATA_DIR": str(tmp_path),
    }
    context, lease = Context.open(settings_of(environment), Moderator([])), uuid4()
    submit_prompts(database, "a cat", partial_images=2)
    (row,) = database.execute(claim(lease))
    reporter = MicrobatchReporter(context, [row], Heartbeat(context, lease, [row.id]))

    reporter.show(row.id, 0, Image.new("RGB", (0, 0)))  # no encoder takes it
