"""The durable textbook: as `textbook`, with a row for each job in Postgres, which the task updates."""

import os
from datetime import UTC, datetime
from uuid import uuid4

from celery import Celery
from fastapi import FastAPI
from pydantic import BaseModel
from sqlalchemy import DateTime, create_engine, make_url
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from bench.peers.drawing import draw

celery_app = Celery("durable", broker=os.environ["SAFELIGHT_REDIS_URL"])
celery_app.conf.update(
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    task_default_queue="durable",
    task_acks_late=True,
    broker_transport_options={"global_keyprefix": "durable:"},
)
engine = create_engine(
    make_url(os.environ["SAFELIGHT_DATABASE_URL"]).set(drivername="postgresql+psycopg"), pool_size=16, max_overflow=24
)
app = FastAPI()


class Base(DeclarativeBase):
    """The ORM's registry."""


class Job(Base):
    """A job."""

    __tablename__ = "durable_textbook_jobs"

    id: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str]
    prompt: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    started_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


Base.metadata.create_all(engine)


class Prompt(BaseModel):
    """The body of a request."""

    prompt: str


@celery_app.task(name="durable.generate")
def generate(job_id: str) -> None:
    """Draw one image, with a commit before and after."""
    with Session(engine) as session:
        job = session.get_one(Job, job_id)
        job.status, job.started_at = "running", datetime.now(UTC)
        prompt = job.prompt
        session.commit()
        draw([prompt])
        job.status, job.finished_at = "completed", datetime.now(UTC)
        session.commit()


@app.post("/jobs", status_code=202)
def submit(prompt: Prompt) -> dict[str, str]:
    """Store a job and send its task."""
    job_id = uuid4().hex
    with Session(engine) as session:
        session.add(Job(id=job_id, status="queued", prompt=prompt.prompt, created_at=datetime.now(UTC)))
        session.commit()
    generate.delay(job_id)
    return {"id": job_id, "status": "queued"}


@app.get("/jobs/{job_id}")
def read(job_id: str) -> dict[str, str]:
    """The state of a job."""
    with Session(engine) as session:
        return {"id": job_id, "status": session.get_one(Job, job_id).status}
