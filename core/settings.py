"""Every setting of Safelight, in one class. Each is an environment variable: `SAFELIGHT_` and its name in capitals.

Durations are written in seconds (`SAFELIGHT_LEASE=30`) or ISO 8601 (`PT30S`). A setting that is left out gets the
default below; `database_url`, `redis_url` and `storage_url` left out mean the embedded parts of `safelight up`.
"""

import ipaddress
import os
import secrets
from contextlib import suppress
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self

from annotated_types import Ge, Gt, Le
from pydantic import BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


def _from_seconds(value: object) -> object:
    """Read a bare number, also as text, as seconds; leave the rest (`PT30S`, timedelta) to pydantic."""
    if isinstance(value, str) and value.replace(".", "", 1).isdigit():
        return timedelta(seconds=float(value))
    return value


def _set_or_none(value: object) -> object:
    """Read an empty variable as one that is not set, as Compose hands on what `.env` leaves open."""
    return None if value == "" else value


Duration = Annotated[timedelta, BeforeValidator(_from_seconds), Gt(timedelta(0))]


class Settings(BaseSettings):
    """What an operator can set. Validated at start; an error names the field."""

    model_config = SettingsConfigDict(env_prefix="SAFELIGHT_", extra="ignore", frozen=True)

    # Where things are
    host: str = Field("127.0.0.1", description="Address the API listens on.")
    port: Annotated[int, Ge(1), Le(65535)] = Field(8000, description="Port the API listens on.")
    public_url: str | None = Field(
        None,
        description="URL by which clients reach the API; image links are built on it. Default: http://host:port.",
    )
    data_dir: Path = Field(Path(".safelight"), description="Directory of the embedded servers, local images and logs.")
    database_url: str | None = Field(None, description="Postgres 15 or newer. Default: the embedded server.")
    redis_url: str | None = Field(
        None,
        description="Redis or Valkey: redis://, rediss:// or sentinel:// (docs/06-operations.md). "
        "Default: the embedded server.",
    )
    storage_url: str | None = Field(
        None, description="file://, s3://, gs:// or az://. Default: the directory `images` under data_dir."
    )
    storage_timeout: Annotated[Duration, Le(timedelta(seconds=60))] = Field(
        timedelta(seconds=20),
        description="Longest the object storage may leave a request unanswered; at most a minute. An image, or a part "
        "of 5 MB, must be uploaded in this time. A request that is repeated after an error may take twice as long.",
    )
    presign: bool = Field(
        True,
        description="Hand out links signed by the store. Off where clients cannot reach the store: the API serves.",
    )
    models_dir: Path = Field(
        Path(__file__).parent.parent / "models",
        description="Directory that relative model sources start from.",
    )
    catalog: Path | None = Field(None, description="Model catalogue (TOML). Default: `catalog.toml` in models_dir.")

    # Who may come in
    secret_key: SecretStr | None = Field(
        None,
        description="Key that signs image links. Default: drawn once and kept in data_dir. "
        "Set it where API and workers do not share data_dir.",
    )
    auth: Literal["auto", "on", "off"] = Field(
        "auto", description="Ask for API keys. `auto`: only where host is not a loopback address."
    )

    # The database
    database_pool_size: Annotated[int, Ge(1), Le(200)] = Field(16, description="Connections per process.")
    statement_timeout: Duration = Field(timedelta(seconds=15), description="Longest any statement may run.")

    # Leases and sweep (reference: recovery after kill -9 takes lease - heartbeat .. lease + sweep + claim)
    lease: Duration = Field(
        timedelta(seconds=30), description="How long a worker may be silent before its job is taken."
    )
    heartbeat: Duration = Field(timedelta(seconds=10), description="How often a worker renews its lease.")
    sweep: Duration = Field(timedelta(seconds=5), description="How often expired leases and jobs are looked for.")
    cleanup: Duration = Field(
        timedelta(minutes=10),
        description="How often what is past its retention, and files that no row names, are looked for and deleted.",
    )
    poll: Duration = Field(
        timedelta(seconds=5), description="How often a worker looks at the database without being rung for."
    )
    cancel_check: Duration = Field(
        timedelta(seconds=1), description="How often a running micro-batch asks whether it is still wanted."
    )
    stall_timeout: Duration = Field(
        timedelta(seconds=120),
        description="Longest time between two denoising steps before the lease is given up.",
    )
    attempt_timeout: Duration = Field(timedelta(minutes=30), description="Longest an attempt at a job may take.")
    drain_timeout: Duration = Field(
        timedelta(seconds=60),
        description="How long a stopping worker may finish its micro-batch before giving it back.",
    )

    # Limits of a job
    max_attempts: Annotated[int, Ge(1), Le(100)] = Field(3, description="Failures after which a job is failed.")
    max_crashes: Annotated[int, Ge(1), Le(100)] = Field(
        3, description="Workers a job may take down before it is failed as poison_job."
    )
    retry_delay: Duration = Field(timedelta(seconds=2), description="Wait before the first retry; doubles each time.")
    job_ttl: Duration = Field(
        timedelta(hours=24), description="How long a job may wait in the queue before it expires."
    )
    retention: Duration = Field(timedelta(days=30), description="How long finished jobs and their images are kept.")
    idempotency_ttl: Duration = Field(timedelta(days=7), description="How long an Idempotency-Key is remembered.")
    url_ttl: Duration = Field(timedelta(hours=1), description="How long a signed image link works.")
    max_body_bytes: Annotated[int, Ge(1024)] = Field(1_000_000, description="Largest JSON body accepted.")
    max_file_bytes: Annotated[int, Ge(1024)] = Field(200 * 2**20, description="Largest file accepted.")
    max_image_bytes: Annotated[int, Ge(1024)] = Field(25_000_000, description="Largest file of an input image.")
    max_image_pixels: Annotated[int, Ge(4096)] = Field(
        32_000_000, description="Most pixels of an input image, width times height; it is decoded in memory."
    )
    batch_file_ttl: Duration = Field(
        timedelta(days=30), description="How long a file with the purpose batch is kept, unless its owner says."
    )
    batch_url_ttl: Annotated[Duration, Le(timedelta(days=7))] = Field(
        timedelta(days=7), description="How long the image links in a batch's output file work; at most a week."
    )
    batch_poll: Duration = Field(
        timedelta(milliseconds=500), description="How often batches that have something to be done are looked for."
    )
    max_batches: Annotated[int, Ge(1)] = Field(100, description="Batches of a project that may be under way.")
    max_batch_body_bytes: Annotated[int, Ge(1024)] = Field(
        16_000_000, description="Largest JSON body of a batch whose prompts or requests come with it."
    )
    sync_timeout: Duration = Field(
        timedelta(seconds=590),
        description="Longest a synchronous images call waits; the SDK gives up at 600 s.",
    )
    sync_grace: Duration = Field(
        timedelta(seconds=15),
        description="How long a job goes on whose synchronous call lost its client: the time for a retry to find it.",
    )
    max_queue_depth: Annotated[int, Ge(1)] = Field(
        1000,
        description="Jobs waiting in a queue upon which synchronous calls for it are a 429; `POST /v1/jobs` is not.",
    )

    # Who may be written to
    egress_allow: Annotated[str | None, BeforeValidator(_set_or_none)] = Field(
        None,
        description="Receivers of webhooks that are not on the public Internet: host names, addresses and CIDRs, with "
        "commas between (`hooks.internal, 10.1.0.0/16`).",
    )
    egress_ports: Annotated[str, Field(pattern=r"^\d{1,5}(, *\d{1,5})*$")] = Field(
        "80, 443",
        description="Ports of public receivers, with commas between. Those in `egress_allow` may have any above 1023.",
    )
    max_webhook_endpoints: Annotated[int, Ge(0)] = Field(
        100, description="Endpoints of a project; every one of them makes an event, and with it the job's end, dearer."
    )
    webhook_timeout: Duration = Field(timedelta(seconds=15), description="Longest a delivery to a webhook may take.")
    webhook_schedule: Annotated[str, Field(pattern=r"^\d+(\.\d+)?(, *\d+(\.\d+)?)*$")] = Field(
        "5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400",
        description="Seconds between a delivery that failed and the next attempt; the first attempt is at once.",
    )
    webhook_poll: Duration = Field(
        timedelta(seconds=0.2), description="How often deliveries that are due are looked for."
    )
    webhook_concurrency: Annotated[int, Ge(2), Le(1000)] = Field(
        64, description="Deliveries at a time, per process; half are kept for receivers that answer within a second."
    )
    webhook_destination_concurrency: Annotated[int, Ge(1)] = Field(
        2, description="Deliveries at a time to one receiver that answers within a second; one to any other."
    )

    # What the generators may do
    torch_threads: Annotated[int, Ge(0)] = Field(
        0, description="CPU threads for torch; 0 leaves the choice to the generator."
    )
    device: str = Field("auto", description="torch device: auto, cpu, cuda, cuda:1, mps.")
    openai_api_key: Annotated[SecretStr | None, BeforeValidator(_set_or_none)] = Field(
        None, description="Key of the OpenAI account that pays. Without it the models drawn by OpenAI are not offered."
    )
    openai_base_url: str = Field("https://api.openai.com/v1", description="Where OpenAI's API, or one like it, is.")
    openai_timeout: Duration = Field(timedelta(seconds=300), description="Longest a call to OpenAI may take.")
    openai_retry_unknown: bool = Field(
        False,
        description="Ask again where a call may have been billed but its images are lost; it may be billed twice.",
    )
    openai_breaker_failures: Annotated[int, Ge(1)] = Field(
        10, description="Failures one after the other upon which jobs wait and single calls try again."
    )
    openai_breaker_pause: Duration = Field(
        timedelta(seconds=10), description="Wait before the first of these tries; doubles up to six times."
    )
    embed_metadata: bool = Field(True, description="Write prompt, model, seed and the AI mark into image files.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe line logged.")

    @model_validator(mode="after")
    def _times_fit_together(self) -> Self:
        if self.heartbeat * 2 > self.lease:
            raise ValueError("heartbeat must be at most half of lease, or one late beat loses the job")
        if self.openai_api_key is not None and self.openai_timeout >= self.attempt_timeout:
            raise ValueError("openai_timeout must be shorter than attempt_timeout, or a call that is paid for is lost")
        return self

    @property
    def needs_key(self) -> bool:
        """Whether requests must carry an API key."""
        return self.auth == "on" or (self.auth == "auto" and not _is_loopback(self.host))

    @property
    def base_url(self) -> str:
        """The URL clients use, without a slash at its end."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104 - compared, not bound
        host = f"[{host}]" if ":" in host else host
        return (self.public_url or f"http://{host}:{self.port}").rstrip("/")

    @property
    def catalog_path(self) -> Path:
        """The catalogue file."""
        return self.catalog or self.models_dir / "catalog.toml"

    @cached_property
    def signing_key(self) -> bytes:
        """The key that signs image links; drawn on first use and kept in data_dir where none is set."""
        if self.secret_key is not None:
            return self.secret_key.get_secret_value().encode()
        path = self.data_dir / "secret_key"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            draft = path.with_name(f".secret_key.{os.getpid()}")
            draft.touch(mode=0o600)
            draft.write_text(secrets.token_urlsafe(32))
            with suppress(FileExistsError):  # another process was first: its key is the key
                os.link(draft, path)
            draft.unlink()
        return path.read_bytes()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
