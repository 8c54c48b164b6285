"""The steps of one training: its state and checkpoints in storage, its losses as events, its LoRA at the end."""

import hashlib
import math
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from core.db import Database, Statement
from core.errors import NotFound
from core.fine_tuning import transitions
from core.fine_tuning.hyperparameters import Hyperparameters
from core.fine_tuning.names import model_name, object_key
from core.fine_tuning.rows import FineTuningJobRow
from core.fine_tuning.transitions import NewEvent, NewModel
from core.ids import new_id
from core.settings import Settings
from core.storage import Storage
from worker.training.lease import Stopping, Superseded, TrainingLease

if TYPE_CHECKING:
    from worker.generators.fine_tuning.trainer import Trainer

METRICS_EVENTS = 100
"""At most so many events with losses; each has the mean of the steps since the one before."""
PARTS = 3
"""A job has a checkpoint after each third of its steps, except the last, which is its model."""
MEDIA_TYPE = "application/octet-stream"


class Training:
    """Runs a training from its last stored state to its end."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        storage: Storage,
        lease: TrainingLease,
        trainer: "Trainer",
        directory: Path,
    ) -> None:
        self._settings = settings
        self._database = database
        self._storage = storage
        self._lease = lease
        self._job = lease.job
        self._trainer = trainer
        self._directory = directory
        self._hyperparameters = Hyperparameters.model_validate(lease.job.hyperparameters)
        self._total = self._hyperparameters.steps
        self._state_key = lease.job.state_key
        self._stored_at = time.monotonic()
        self._stored_step = 0
        self._losses: list[float] = []
        self._last_loss = float("nan")

    def run(self) -> None:
        """Train. Raises Superseded; Stopping, when the state is stored; GenerationError."""
        self._resume()
        self._stored_step = self._trainer.step
        event_steps = max(1, self._total // METRICS_EVENTS)
        part = max(1, self._total // PARTS)
        while self._trainer.step < self._total:
            try:
                self._lease.check()
            except Stopping:
                self._store(is_checkpoint=False)
                raise
            self._losses.append(self._trainer.train_step())
            step = self._trainer.step
            if step % event_steps == 0 or step == self._total:
                self._record(step)
            is_checkpoint = step % part == 0 and step < part * PARTS and step < self._total
            is_due = time.monotonic() - self._stored_at >= self._settings.training_save.total_seconds()
            if is_checkpoint or (is_due and step < self._total):
                self._store(is_checkpoint=is_checkpoint)
        self._finish()

    def _resume(self) -> None:
        if self._state_key is None:
            return
        path = self._directory / "resume.safetensors"
        try:
            with path.open("wb") as file:
                for chunk in self._storage.stream(self._state_key):
                    file.write(chunk)
            self._trainer.load_state(path)
        except (NotFound, ValueError):
            event = NewEvent("The stored state cannot be read; the training begins anew", "warn")
            self._write(transitions.record(self._job.id, self._lease.token, 0, event))
        else:
            event = NewEvent(f"The training goes on after step {self._trainer.step}")
            self._write(transitions.record(self._job.id, self._lease.token, self._trainer.step, event))
        finally:
            path.unlink(missing_ok=True)

    def _record(self, step: int) -> None:
        """Record the step, with an event unless an interrupted attempt has made it."""
        self._last_loss = sum(self._losses) / len(self._losses)
        self._losses.clear()
        data = {"step": step, "total_steps": self._total, "train_loss": round(self._last_loss, 6)}
        event = NewEvent(f"Step {step}/{self._total}: training loss={self._last_loss:.4f}", "info", "metrics", data)
        events = (event,) if step > self._job.step else ()
        self._write(transitions.record(self._job.id, self._lease.token, max(step, self._job.step), *events))

    def _store(self, *, is_checkpoint: bool) -> None:
        """Store the state, and the LoRA of a checkpoint. Objects come before rows."""
        step = self._trainer.step
        if step == self._stored_step:
            return
        os.utime(self._directory)  # it is in use; see `worker.training.directory`
        path = self._directory / "state.safetensors"
        self._trainer.save_state(path)
        key = object_key(self._job.id, self._lease.token, f"state-{step}")
        self._put(key, path)
        checkpoint = event = None
        name = model_name(self._job, step)
        if is_checkpoint:
            checkpoint = self._model(name, f"checkpoint-{step}", checkpoint_id=new_id("ftckpt"))
            event = NewEvent(f"Checkpoint created at step {step}: {name}")
        job_id, token = self._job.id, self._lease.token
        statement = transitions.save(job_id, token, step=step, state_key=key, checkpoint=checkpoint, event=event)
        self._write(statement, key, *([checkpoint.storage_key] if checkpoint else []))
        if self._state_key not in (None, key):
            self._storage.delete([self._state_key])
        self._state_key = key
        self._stored_step = step
        self._stored_at = time.monotonic()

    def _finish(self) -> None:
        model = self._model(model_name(self._job), "lora")
        self._write(transitions.succeed(self._job.id, self._lease.token, model), model.storage_key)
        if self._state_key is not None:
            self._storage.delete([self._state_key])

    def _model(self, name: str, object_name: str, checkpoint_id: str | None = None) -> NewModel:
        """Store the LoRA as it is now."""
        path = self._directory / "lora.safetensors"
        self._trainer.save_lora(path)
        content = path.read_bytes()
        key = object_key(self._job.id, self._lease.token, object_name)
        self._storage.put(key, content, MEDIA_TYPE)
        return NewModel(
            id=name,
            step=self._trainer.step,
            metrics={} if math.isnan(self._last_loss) else {"train_loss": round(self._last_loss, 6)},
            storage_key=key,
            bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            checkpoint_id=checkpoint_id,
        )

    def _put(self, key: str, path: Path) -> None:
        """Store a file, which need not fit into memory twice."""
        with path.open("rb") as file:
            self._storage.write(key, iter(lambda: file.read(2**20), b""))

    def _write(self, statement: Statement[FineTuningJobRow], *keys: str) -> None:
        """Execute a verb. Raises Superseded if the lease was lost, and deletes the objects that no row has then."""
        if not self._database.execute(statement):
            self._storage.delete(keys)
            raise Superseded
