"""Webhook endpoints of a project: who is told of events, and how what is told is signed.

Signatures follow Standard Webhooks 1.0.0: HMAC-SHA256 of `id.timestamp.body` under the secret's bytes. While a secret
is being replaced, both sign. What is on its way is in `core.deliveries`; sending is `worker.deliver`.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa
from pydantic import BaseModel, Field
from sqlalchemy.dialects.postgresql import JSONB

from core import deliveries
from core.batch_schemas import TIMES, BatchError, BatchErrors, BatchObject, BatchUrls, RequestCounts
from core.deliveries import EventType
from core.egress import Allowed, Refused, check
from core.errors import InvalidParameter
from core.ids import new_id
from core.jobs import NOW
from core.schemas import JobError, JobObject, JobUrls
from core.settings import Settings
from core.status import BatchStatus, JobStatus
from core.tables import projects
from core.tables import webhook_endpoints as endpoints

SECRET_PREFIX = "whsec_"  # noqa: S105 - what secrets begin with
SHOWN = 4
"""Characters of a secret that are shown again, to recognise it by."""

ROTATION = timedelta(hours=24)
"""How long the old secret signs beside the new one, if asked for."""


class Event(BaseModel):
    """What a receiver gets: a fact, and what it is about as that is now."""

    id: str = Field(description="The same for every attempt, as is the header `webhook-id`: tells repetitions.")
    object: Literal["event"] = "event"
    type: str = Field(description="`job.completed`, `batch.completed` ...: what happened, and to what.")
    created_at: int
    data: JobObject | BatchObject = Field(
        description="The job, with links to its pictures that work until they expire; or the batch."
    )


def sample(event_id: str, event_type: EventType, now: datetime, base_url: str) -> Event:
    """A made-up event, to test a receiver with: of a job or a batch that there is not."""
    subject, _, fact = event_type.partition(".")
    moment = int(now.timestamp())
    data = _sample_job(fact, moment, base_url) if subject == "job" else _sample_batch(fact, moment, base_url)
    return Event(id=event_id, type=event_type, created_at=moment, data=data)


def _sample_batch(fact: str, moment: int, base_url: str) -> BatchObject:
    url = f"{base_url}/v1/batches/batch_test"
    paths = ("cancel", "events", "images.zip", "manifest.csv")
    errors = BatchErrors(data=[BatchError(line=1, code="test", param=None, message="This is a test.")])
    return BatchObject(
        id="batch_test",
        endpoint="/v1/images/generations",
        model="test",
        status=BatchStatus(fact),
        errors=errors if fact == "failed" else None,
        input_file_id="file_test",
        completion_window="24h",
        output_file_id="file_test" if fact == "completed" else None,
        error_file_id=None,
        created_at=moment,
        **dict.fromkeys(TIMES) | {"expires_at": moment, f"{fact}_at": moment},
        request_counts=RequestCounts(total=1, **{fact: 1}),
        metadata={},
        progress=None,
        device_seconds=1.0,
        parameters={},
        webhook=None,
        retried_from=None,
        urls=BatchUrls(self=url, **{path.partition(".")[0]: f"{url}/{path}" for path in paths}),
    )


def _sample_job(fact: str, moment: int, base_url: str) -> JobObject:
    status = JobStatus("in_progress" if fact == "started" else fact)
    url = f"{base_url}/v1/jobs/job_test"
    return JobObject(
        id="job_test",
        status=status,
        operation="generation",
        model="test",
        prompt="This is a test.",
        negative_prompt=None,
        n=1,
        size="256x256",
        steps=1,
        guidance_scale=1.0,
        seed=0,
        output_format="png",
        output_compression=None,
        image=None,
        mask=None,
        strength=None,
        postprocess=None,
        partial_images=0,
        priority=0,
        metadata={},
        attempts=1,
        images=[],
        error=JobError(code="test", message="This is a test.") if status is JobStatus.FAILED else None,
        warnings=[],
        retried_from=None,
        cancel_requested_at=None,
        created_at=moment,
        started_at=moment,
        finished_at=moment if status.is_final else None,
        expires_at=moment,
        urls=JobUrls(self=url, cancel=f"{url}/cancel", events=f"{url}/events"),
    )


def new_secret() -> str:
    """Draw a secret: 32 random bytes in base64."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def hint(secret: str) -> str:
    """What of a secret may be shown again."""
    return f"{SECRET_PREFIX}...{secret[-SHOWN:]}"


def is_secret(text: str) -> bool:
    """Whether a secret has the form that verifying libraries read, with 24 to 64 bytes."""
    try:
        return text.startswith(SECRET_PREFIX) and 24 <= len(key_of(text)) <= 64
    except ValueError:
        return False


def key_of(secret: str) -> bytes:
    """The bytes that sign."""
    return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)


def signed(keys: Sequence[str], event_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of a delivery, with a signature by each secret. timestamp: Unix seconds, of this attempt."""
    headers = {"webhook-id": event_id, "webhook-timestamp": str(timestamp)}
    if keys:
        content = f"{event_id}.{timestamp}.".encode() + body
        marks = (hmac.new(key_of(key), content, hashlib.sha256).digest() for key in keys)
        headers["webhook-signature"] = " ".join(f"v1,{base64.b64encode(mark).decode()}" for mark in marks)
    return headers


def verifies(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether a delivery is signed by a secret. headers: by their names in small letters."""
    event_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isascii() or not timestamp.isdigit():
        return False
    expected = signed([secret], event_id, int(timestamp), body)["webhook-signature"]
    return any(
        hmac.compare_digest(expected.encode(), mark.encode()) for mark in headers.get("webhook-signature", "").split()
    )


def live_secrets(secret: str | None, previous: str | None, until: datetime | None, now: datetime) -> list[str]:
    """The secrets that sign now, the newest first."""
    found = [secret] if secret else []
    return [*found, previous] if previous and until and until > now else found


def check_receiver(url: str, settings: Settings, param: str) -> None:
    """Raise InvalidParameter where an address is not one that may be written to, as far as can be said at once."""
    try:
        check(url, Allowed.by(settings))
    except Refused as error:
        raise InvalidParameter(f"{param} {error.message}.", param=param) from None


def hold(project_id: str) -> sa.Select[Any]:
    """Keep others from making endpoints until the transaction ends, so that what `create` counts is all there is."""
    return sa.select(projects.c.id).where(projects.c.id == project_id).with_for_update(key_share=True)


def create(
    project_id: str, name: str, url: str, event_types: Sequence[str], secret: str, *, at_most: int | None = None
) -> sa.Executable:
    """Make an endpoint and return its row; none where the project has `at_most` already."""
    values = {
        "id": sa.literal(new_id("we")),
        "project_id": sa.literal(project_id),
        "name": sa.literal(name),
        "url": sa.literal(url),
        "event_types": sa.literal(list(event_types), JSONB),
        "secret": sa.literal(secret),
    }
    made = sa.select(*values.values())
    if at_most is not None:
        known = sa.select(sa.func.count()).where(endpoints.c.project_id == project_id).scalar_subquery()
        made = made.where(known < at_most)
    return sa.insert(endpoints).from_select(list(values), made).returning(*endpoints.c)


def one(project_id: str, endpoint_id: str) -> sa.Select[Any]:
    """One endpoint of a project."""
    return sa.select(endpoints).where(_is(project_id, endpoint_id))


def page(project_id: str, *, limit: int, after: str | None = None) -> sa.Select[Any]:
    """Endpoints, newest first. `after` is the id of the last one of the page before."""
    found = sa.select(endpoints).where(endpoints.c.project_id == project_id)
    if after is not None:
        found = found.where(endpoints.c.id < after)
    return found.order_by(endpoints.c.id.desc()).limit(limit)


def update(
    project_id: str, endpoint_id: str, changes: Mapping[str, Any], *, enable: bool | None = None
) -> sa.Select[Any]:
    """Change name, url or event_types; let it be told again, or no more. No row back: there is no such endpoint."""
    values: dict[str, Any] = {**changes, "updated_at": NOW}
    if enable:
        values |= {"disabled_at": None, "disabled_reason": None, "failing_since": None}
    elif enable is False:
        values |= {
            "disabled_at": sa.func.coalesce(endpoints.c.disabled_at, NOW),
            "disabled_reason": sa.func.coalesce(endpoints.c.disabled_reason, "Disabled by its owner."),
        }
    changed = (
        sa.update(endpoints).where(_is(project_id, endpoint_id)).values(values).returning(*endpoints.c).cte("changed")
    )
    found = sa.select(changed)
    if enable is not False:
        return found
    given_up = deliveries.give_up(endpoint_id, "endpoint_disabled").where(sa.select(changed.c.id).exists())
    return found.add_cte(given_up.cte("given_up"))


def rotate(project_id: str, endpoint_id: str, secret: str, *, keep: bool) -> sa.Update:
    """Sign by a new secret; by the old one too for ROTATION if it is to be kept."""
    return (
        sa.update(endpoints)
        .where(_is(project_id, endpoint_id))
        .values(
            secret=secret,
            previous_secret=endpoints.c.secret if keep else None,
            previous_secret_until=NOW + ROTATION if keep else None,
            updated_at=NOW,
        )
        .returning(*endpoints.c)
    )


def delete(project_id: str, endpoint_id: str) -> sa.Select[Any]:
    """Forget an endpoint; what waits for it is given up. No row back: there is no such endpoint."""
    gone = sa.delete(endpoints).where(_is(project_id, endpoint_id)).returning(endpoints.c.id).cte("gone")
    given_up = deliveries.give_up(endpoint_id, "endpoint_deleted").where(sa.select(gone.c.id).exists())
    return sa.select(gone.c.id).add_cte(given_up.cte("given_up"))


def _is(project_id: str, endpoint_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(endpoints.c.id == endpoint_id, endpoints.c.project_id == project_id)
