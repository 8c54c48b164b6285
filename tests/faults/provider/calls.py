"""Short forms for jobs of OpenAI's models and for the calls made for them."""

from typing import Any

import sqlalchemy as sa

from core.tables import job_events, jobs, provider_calls
from tests.openai_stub import MODEL
from tests.processes import Process
from tests.stack import Stack

OPENAI = f"""
[[models]]
id = "{MODEL}"
generator = "openai_images"
queue = "openai"
operations = ["generation", "edit"]
sizes = ["64x64"]
qualities = ["low", "medium", "high"]
microbatch_size = 1
options = {{ quality = "medium", usd_text_input = 5.0, usd_image_input = 8.0, usd_output = 30.0 }}
"""

CALLED = sa.select(provider_calls).order_by(provider_calls.c.started_at)


def a_worker(service: Stack, name: str = "remote", concurrency: int = 8, **settings: str) -> Process:
    return service.worker(name, "openai", concurrency, **settings)


def submit(service: Stack, prompt: str, **fields: Any) -> str:
    return str(service.submit(prompt, model=MODEL, **fields)["id"])


def row(service: Stack, job_id: str) -> Any:
    return service.database.execute(sa.select(jobs).where(jobs.c.id == job_id))[0]


def reasons(service: Stack, job_id: str) -> list[str]:
    """Why a job went back to the line, each time."""
    requeued = sa.select(job_events.c.data["reason"].astext).where(
        job_events.c.job_id == job_id, job_events.c.type == "job.requeued"
    )
    return [row[0] for row in service.database.execute(requeued)]
