"""The notifier sends a message soon after one that Redis refused, although it sends few."""

from urllib.parse import urlsplit

from cli.local.embedded import EmbeddedValkey
from core.redis.connection import KEY_PREFIX, connect
from core.redis.notifier import Notifier
from core.redis.wakeups import wakeup_key
from tests.stack import settings_of

QUEUE = "local"


def test_a_message_that_was_lost_is_sent_with_the_next_notification(valkey: EmbeddedValkey) -> None:
    with connect(settings_of({"SAFELIGHT_REDIS_URL": valkey.url})) as redis:
        redis.execute_command("ACL SETUSER", "limited", "on", ">a1b2c3d4e5f6", "+@all", f"~{wakeup_key('*')}")
        port = urlsplit(valkey.url).port
        settings = settings_of({"SAFELIGHT_REDIS_URL": f"redis://limited:a1b2c3d4e5f6@127.0.0.1:{port}/8"})
        notifier = Notifier(settings)
        assert not notifier.notify("other")  # connects, which takes longer than the pause between two messages
        assert not notifier.notify(QUEUE)

        redis.execute_command("ACL SETUSER", "limited", "allkeys")  # Redis takes messages again
        assert notifier.notify(QUEUE)
        redis.execute_command("ACL DELUSER", "limited")

    with connect(settings_of({"SAFELIGHT_REDIS_URL": f"{valkey.url.rstrip('/')}/8"})) as redis:
        assert redis.llen(f"{KEY_PREFIX}{QUEUE}") == 1
        redis.flushdb()
