"""The textbook: FastAPI sends a Celery task for each job, and the results lie in Redis. Nothing survives its loss."""

import os

from celery import Celery
from celery.result import AsyncResult
from fastapi import FastAPI
from pydantic import BaseModel

from bench.peers.drawing import draw

URL = os.environ["SAFELIGHT_REDIS_URL"]
celery_app = Celery("textbook", broker=URL, backend=URL)
celery_app.conf.update(
    worker_prefetch_multiplier=1,
    task_default_queue="textbook",
    broker_transport_options={"global_keyprefix": "textbook:"},
)
app = FastAPI()


class Prompt(BaseModel):
    """The body of a request."""

    prompt: str


@celery_app.task(name="textbook.generate")
def generate(prompt: str) -> int:
    """Draw one image. Returns its bytes' number."""
    return len(draw([prompt])[0])


@app.post("/jobs", status_code=202)
def submit(prompt: Prompt) -> dict[str, str]:
    """Send a task."""
    return {"id": generate.delay(prompt.prompt).id, "status": "queued"}


@app.get("/jobs/{job_id}")
def read(job_id: str) -> dict[str, str]:
    """The state of a task."""
    return {"id": job_id, "status": AsyncResult(job_id, app=celery_app).status}
