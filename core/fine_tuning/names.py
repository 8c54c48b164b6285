"""The names of fine-tuned models, and the keys of their objects in storage."""

from uuid import UUID

from core.fine_tuning.rows import FineTuningJobRow
from core.parameters.loras import FINE_TUNED

PREFIX = "fine_tuning/"
"""The prefix of all objects of trainings in storage."""


def model_name(job: FineTuningJobRow, step: int | None = None) -> str:
    """A name such as `ft:unclip-mini:proj_default:zorble:x7z1b4dn`. step: of a checkpoint."""
    name = f"{FINE_TUNED}{job.model}:{job.project_id}:{job.suffix or ''}:{job.id[-8:]}"
    return name if step is None else f"{name}:ckpt-step-{step}"


def job_prefix(job_id: str) -> str:
    """The prefix of all objects of a job, from any attempt."""
    return f"{PREFIX}{job_id}/"


def object_key(job_id: str, lease: UUID, name: str) -> str:
    """The key of an object that is written under a lease. An object is never overwritten."""
    return f"{job_prefix(job_id)}{lease.hex}/{name}.safetensors"
