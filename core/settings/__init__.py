"""All settings of Safelight. Each one is an environment variable: `SAFELIGHT_` and its name in capitals.

Durations are in seconds (`SAFELIGHT_LEASE=30`) or ISO 8601 (`PT30S`). A setting that is not set has the default below.
Without `database_url`, `redis_url` and `storage_url`, the embedded servers of `safelight up` are used.
"""

import os
import secrets
from contextlib import suppress
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Le
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from core.settings.content_credentials import ContentCredentialSettings
from core.settings.generators import GeneratorSettings
from core.settings.http import HttpSettings
from core.settings.limits import LimitSettings
from core.settings.metrics import MetricsSettings
from core.settings.moderation import ModerationSettings
from core.settings.placeholders import is_placeholder, password_of
from core.settings.types import Duration, set_or_none
from core.settings.webhooks import WebhookSettings

NEW_NAMES = {
    "SAFELIGHT_MAX_PICTURE_BYTES": "SAFELIGHT_MAX_IMAGE_BYTES",
    "SAFELIGHT_MAX_PICTURE_PIXELS": "SAFELIGHT_MAX_IMAGE_PIXELS",
    "SAFELIGHT_WEBHOOK_LANE": "SAFELIGHT_WEBHOOK_DESTINATION_CONCURRENCY",
}
"""Variables of earlier versions and their new names. An old name is an error, because it would be ignored."""


MIN_SECRET_LENGTH = 32


def _check_secret(secret: SecretStr | None) -> SecretStr | None:
    """Raises ValueError if a key is short enough to be guessed."""
    if secret is not None and len(secret.get_secret_value()) < MIN_SECRET_LENGTH:
        raise ValueError(
            f"it must have {MIN_SECRET_LENGTH} characters or more, because it signs image links: "
            "`openssl rand -hex 24` makes one"
        )
    return secret


class Settings(
    LimitSettings,
    ModerationSettings,
    MetricsSettings,
    ContentCredentialSettings,
    WebhookSettings,
    GeneratorSettings,
    HttpSettings,
):
    """The settings, validated at start. An error names the variable."""

    # Directories and servers
    data_dir: Path = Field(
        Path(".safelight"), description="Directory for the embedded servers' data, local images and logs."
    )
    database_url: str | None = Field(
        None, description="URL of Postgres 15 or newer. Default: the embedded Postgres of `safelight up`."
    )
    migrations_database_url: Annotated[str | None, BeforeValidator(set_or_none)] = Field(
        None,
        description="URL of the same database for the owner of the tables: `safelight migrate` connects with it, and "
        "gives the role of `database_url` the right to read and write rows and no other right. Do not give it to the "
        "other processes. Default: `database_url`.",
    )
    redis_url: str | None = Field(
        None,
        description="URL of Redis or Valkey: redis://, rediss:// or sentinel:// (docs/06-operations.md). "
        "Default: the embedded Valkey of `safelight up`.",
    )
    storage_url: str | None = Field(
        None,
        description="Where images and files are stored: file://, s3://, gs:// or az://. "
        "Default: the directory `images` in data_dir.",
    )
    storage_timeout: Annotated[Duration, Le(timedelta(seconds=60))] = Field(
        timedelta(seconds=20),
        description="Maximum time without a response of the object storage; at most a minute. An image, or a part of "
        "5 MB, must be uploaded in this time. A request that is retried after an error may take twice as long.",
    )
    presign: bool = Field(
        True,
        description="Image links point to the storage and are signed by it. "
        "Set it to false if clients cannot reach the storage; the API then serves the images.",
    )
    models_dir: Path = Field(
        Path(__file__).parents[2] / "models", description="Directory to which relative model sources refer."
    )
    catalog: Path | None = Field(None, description="Model catalogue (TOML). Default: `catalog.toml` in models_dir.")

    # Access
    secret_key: Annotated[SecretStr | None, BeforeValidator(set_or_none), AfterValidator(_check_secret)] = Field(
        None,
        description="Key that signs image links, 32 characters or more (`openssl rand -hex 24` makes one). Default: a "
        "random key, stored in data_dir. Set it if the API and the workers do not share data_dir.",
    )

    # Database
    database_pool_size: Annotated[int, Ge(1), Le(200)] = Field(
        16, description="Maximum number of database connections per process."
    )
    statement_timeout: Duration = Field(timedelta(seconds=15), description="Maximum time of a database statement.")

    storage_retry: Duration = Field(
        timedelta(seconds=30),
        description="How long a worker tries again to store the images of a micro-batch. After it, the job is queued "
        "again. Images of a provider wait in the database then.",
    )

    # Leases (recovery after kill -9 takes between lease - heartbeat and lease + sweep + claim)
    lease: Duration = Field(
        timedelta(seconds=30),
        description="Lease duration: a job is queued again if its worker has not renewed the lease for this time.",
    )
    heartbeat: Duration = Field(
        timedelta(seconds=10), description="Interval at which a worker renews its leases; at most half of lease."
    )
    sweep: Duration = Field(
        timedelta(seconds=5), description="Interval at which the sweep looks for expired leases and jobs."
    )
    cleanup: Duration = Field(
        timedelta(minutes=10),
        description="Interval at which expired data, and files without a database row, are deleted.",
    )
    poll: Duration = Field(
        timedelta(seconds=5), description="Interval at which a worker looks for jobs when no notification arrives."
    )
    cancel_check: Duration = Field(
        timedelta(seconds=1), description="Interval at which a running micro-batch checks for cancelled jobs."
    )
    stall_timeout: Duration = Field(
        timedelta(seconds=120),
        description="Maximum time between two denoising steps; after it, the worker returns its jobs to the queue "
        "and ends with exit code 70.",
    )
    attempt_timeout: Duration = Field(timedelta(minutes=30), description="Maximum time of an attempt at a job.")
    drain_timeout: Duration = Field(
        timedelta(seconds=60),
        description="Time that a stopping worker has to finish its micro-batch; after it, the jobs are queued again.",
    )

    # Limits of a job
    max_attempts: Annotated[int, Ge(1), Le(100)] = Field(
        3, description="Number of failed attempts after which a job fails."
    )
    max_crashes: Annotated[int, Ge(1), Le(100)] = Field(
        3,
        description="Number of worker crashes after which a job fails with the code `poison_job`.",
    )
    max_batch_attempts: Annotated[int, Ge(1), Le(100)] = Field(
        2,
        description="Number of failed attempts to read or finish a batch after which it fails with the code "
        "`batch_processing_failed`.",
    )
    retry_delay: Duration = Field(
        timedelta(seconds=2), description="Delay before the first retry; it doubles with each retry."
    )
    job_ttl: Duration = Field(timedelta(hours=24), description="Time after which a job that is still queued expires.")
    retention: Duration = Field(timedelta(days=30), description="How long finished jobs and their images are stored.")
    audit_retention: Duration = Field(timedelta(days=365), description="How long events of the audit log are stored.")
    idempotency_ttl: Duration = Field(
        timedelta(days=7), description="How long the response for an Idempotency-Key is stored."
    )
    url_ttl: Duration = Field(timedelta(hours=1), description="How long a signed image link is valid.")
    max_body_bytes: Annotated[int, Ge(1024)] = Field(1_000_000, description="Maximum size of a JSON body.")
    max_file_bytes: Annotated[int, Ge(1024)] = Field(200 * 2**20, description="Maximum size of an uploaded file.")
    max_image_bytes: Annotated[int, Ge(1024)] = Field(25_000_000, description="Maximum file size of an input image.")
    max_image_pixels: Annotated[int, Ge(4096)] = Field(
        32_000_000, description="Maximum number of pixels of an input image (width x height)."
    )
    decode_timeout: Duration = Field(
        timedelta(seconds=15),
        description="Maximum CPU time for decoding an input image. 32 megapixels take 1 to 7 s.",
    )
    decoders: Annotated[int, Ge(2), Le(64)] = Field(
        3,
        description="Maximum number of processes that decode input images, for each API process and for the sweep. "
        "A project leaves one of them, and one CPU, to the others. A process takes up to 256 MB and 24 bytes for each "
        "pixel of max_image_pixels.",
    )
    batch_file_ttl: Duration = Field(
        timedelta(days=30),
        description="How long a file with purpose `batch` is stored if the upload sets no `expires_after`.",
    )
    batch_url_ttl: Annotated[Duration, Le(timedelta(days=7))] = Field(
        timedelta(days=7), description="How long the image links in a batch's output file are valid; at most 7 days."
    )
    batch_poll: Duration = Field(
        timedelta(milliseconds=500), description="Interval at which the batch processor looks for batches to process."
    )
    batch_readers: Annotated[int, Ge(2), Le(64)] = Field(
        8,
        description="Maximum number of batches that a sweep reads or writes files for at once; one for each project.",
    )
    max_batches: Annotated[int, Ge(1)] = Field(100, description="Maximum number of unfinished batches per project.")
    max_fine_tuning_jobs: Annotated[int, Ge(1)] = Field(
        10, description="Maximum number of unfinished fine-tuning jobs per project."
    )
    max_training_images: Annotated[int, Ge(1), Le(100_000)] = Field(
        1000, description="Maximum number of images in the training file of a fine-tuning job."
    )
    training_save: Duration = Field(
        timedelta(seconds=60),
        description="Interval at which a training stores its state: so much is done again if its worker dies.",
    )
    max_batch_body_bytes: Annotated[int, Ge(1024)] = Field(
        16_000_000, description="Maximum size of the JSON body of a batch that contains its prompts or requests."
    )
    sync_timeout: Duration = Field(
        timedelta(seconds=590),
        description="Maximum time that a synchronous images call waits; the OpenAI SDK gives up after 600 s.",
    )
    sync_grace: Duration = Field(
        timedelta(seconds=15),
        description="When the client of a synchronous call disconnects, its job is cancelled after this time, "
        "unless the client retries.",
    )
    max_queue_depth: Annotated[int, Ge(1)] = Field(
        1000,
        description="Synchronous calls get 429 if so many jobs would be claimed before theirs. `POST /v1/jobs` is not "
        "limited.",
    )
    max_priority: Annotated[int, Ge(-100), Le(100)] = Field(
        0,
        description="Highest priority of a job among the jobs of other projects. A higher one counts only within its "
        "project.",
    )

    embed_metadata: bool = Field(
        True, description="Write prompt, model, seed and the mark for AI-generated content into image files."
    )
    strict_parameters: bool = Field(
        False,
        description="Refuse values of OpenAI's calls that the model does not support, such as another size, instead of "
        "adapting them with a warning.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Minimum level of log lines.")
    log_format: Literal["text", "json"] = Field(
        "text", description="Format of the logs of all processes: a message is a line of text, or an object of JSON."
    )

    @model_validator(mode="before")
    @classmethod
    def _no_old_names(cls, data: Any) -> Any:
        if name := next((name for name in NEW_NAMES if name in os.environ), None):
            raise ValueError(f"{name} was renamed: set {NEW_NAMES[name]} instead")
        return data

    @model_validator(mode="after")
    def _check_durations(self) -> Self:
        if self.heartbeat * 2 > self.lease:
            raise ValueError("heartbeat must be at most half of lease, or a single late heartbeat loses the job")
        if "hook" in self.moderation_checks and self.moderation_hook is None:
            raise ValueError("moderation has `hook`, which needs SAFELIGHT_MODERATION_HOOK")
        if "openai" in self.moderation_checks and self.openai_api_key is None:
            raise ValueError("moderation has `openai`, which needs SAFELIGHT_OPENAI_API_KEY")
        if self.openai_api_key is not None and self.openai_timeout >= self.attempt_timeout:
            raise ValueError("openai_timeout must be shorter than attempt_timeout, or a billed call may be lost")
        return self

    @model_validator(mode="after")
    def _check_secrets(self) -> Self:
        names = ("database_url", "migrations_database_url", "redis_url")
        secrets_by_name = {f"SAFELIGHT_{name.upper()}": password_of(getattr(self, name)) for name in names}
        secrets_by_name["AWS_SECRET_ACCESS_KEY"] = os.environ.get("AWS_SECRET_ACCESS_KEY")
        if name := next((name for name, secret in secrets_by_name.items() if is_placeholder(secret)), None):
            raise ValueError(f"{name} has a secret that is only an example: `openssl rand -hex 24` makes one")
        return self

    @property
    def catalog_path(self) -> Path:
        """Path of the catalogue."""
        return self.catalog or self.models_dir / "catalog.toml"

    @cached_property
    def signing_key(self) -> bytes:
        """The key that signs image links. If none is set, a random key is stored in data_dir on first use."""
        if self.secret_key is not None:
            return self.secret_key.get_secret_value().encode()
        path = self.data_dir / "secret_key"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            draft = path.with_name(f".secret_key.{os.getpid()}")
            draft.touch(mode=0o600)
            draft.write_text(secrets.token_urlsafe(32))
            with suppress(FileExistsError):  # another process was first: its key is used
                os.link(draft, path)
            draft.unlink()
        return path.read_bytes()
