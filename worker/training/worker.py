"""Claims fine-tuning jobs, one at a time: checks the training file of one, or trains one.

Every write names the lease. A training stores its state from time to time, so that another worker can go on after it.
No transaction is open while it computes, and torch is imported by the first training only.
"""

import logging
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from PIL import Image

from core.catalog import Model
from core.catalog.file import CatalogFile
from core.db import UNAVAILABLE, Database
from core.errors import SafelightError, StorageUnavailable, first_line
from core.fine_tuning import transitions
from core.fine_tuning.hyperparameters import Hyperparameters, complete, estimated_cost, spec_of
from core.fine_tuning.requests import HyperparametersRequest
from core.fine_tuning.rows import FineTuningJobRow
from core.fine_tuning.training_file import PairError
from core.fine_tuning.transitions import NewEvent
from core.generation_errors import InvalidTrainingFile, TrainingFailed
from core.images import decode
from core.images.decoders import Decoders
from core.limits import Amount
from core.settings import Settings
from core.status import FineTuningStatus
from core.storage import Storage
from core.telemetry import logs
from worker.reservation import reserve
from worker.training.directory import delete_old, training_directory
from worker.training.examples import Examples
from worker.training.lease import Stopping, Superseded, TrainingLease
from worker.training.training import Training

log = logging.getLogger(__name__)

MAX_LINE_ERRORS = 50


def worker_name() -> str:
    """The name of this process in the rows that it claims."""
    return f"training@{socket.gethostname()}-{os.getpid()}"


class TrainingWorker:
    """The worker of fine-tuning jobs."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._settings = settings
        self._name = name
        self._catalog_file = CatalogFile(settings, only_available=False)
        self._database = Database(settings, name="safelight-training")
        self._storage = Storage(settings)
        self._decoders = Decoders(settings)
        self._stop = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set. A training in progress is stored and given back."""
        self._stop = stop
        while not stop.is_set():
            try:
                if self.run_once():
                    continue
            except UNAVAILABLE as error:
                log.warning("the database is unavailable: %s", first_line(error))
            except Exception:  # whatever it was, the loop goes on: without it no job is trained
                log.exception("the training worker failed and goes on")
            stop.wait(self._settings.poll.total_seconds())
        self.close()

    def close(self) -> None:
        """End the decoders and close the connections."""
        self._decoders.close()
        self._database.close()

    def run_once(self) -> bool:
        """Claim a job and check its file, or train it. Returns whether there was one."""
        rows = self._database.execute(transitions.claim(uuid4(), self._name, self._settings.lease))
        for job in rows:
            with (
                logs.add_ids(project_id=job.project_id),
                TrainingLease(self._settings, self._database, job, self._stop) as lease,
            ):
                self._process(lease)
        return bool(rows)

    def _process(self, lease: TrainingLease) -> None:
        """Check or train a job. An attempt that fails counts, unless the database or the storage is unavailable."""
        job = lease.job
        log.info("fine-tuning job %s is %s, attempt %d", job.id, job.status, job.attempts)
        try:
            if job.attempts > self._settings.max_attempts:
                raise TrainingFailed(f"{self._settings.max_attempts} attempts have ended at about step {job.step}.")
            model = self._catalog_file.current().model(job.model)
            if job.status == FineTuningStatus.VALIDATING_FILES:
                self._validate(lease, model)
            else:
                self._train(lease, model)
        except Superseded:
            log.info("fine-tuning job %s was cancelled, or claimed by another worker", job.id)
        except Stopping:
            self._database.execute(transitions.release(job.id, lease.token, timedelta(0)))
        except (*UNAVAILABLE, StorageUnavailable) as error:
            log.warning("fine-tuning job %s waits: %s", job.id, first_line(error))
            self._database.execute(transitions.release(job.id, lease.token, self._settings.lease))
        except SafelightError as error:
            if error.retryable and job.attempts < self._settings.max_attempts:  # maybe by another worker
                log.warning("fine-tuning job %s is tried again after its lease: %s", job.id, error.message)
            else:
                self._fail(lease, error)
        except Exception as error:
            log.exception("fine-tuning job %s failed in attempt %d", job.id, job.attempts)
            if job.attempts >= self._settings.max_attempts:
                self._fail(lease, TrainingFailed(f"The training failed: {type(error).__name__}: {first_line(error)}"))

    def _fail(self, lease: TrainingLease, error: SafelightError, *line_errors: NewEvent) -> None:
        log.warning("fine-tuning job %s fails: %s", lease.job.id, error.message)
        values = {"code": error.code, "message": error.message, "param": error.param}
        self._database.execute(transitions.fail(lease.job.id, lease.token, values, *line_errors))

    def _validate(self, lease: TrainingLease, model: Model) -> None:
        """Read the training file. The job is queued, or it fails with the errors of all lines."""
        job = lease.job
        count = 0
        errors: list[PairError] = []
        for example in self._examples(job).read(model):
            lease.check()
            count += 1
            if isinstance(example, PairError):
                errors.append(example)
            if len(errors) == MAX_LINE_ERRORS:
                break
        if errors:
            message = f"The training file has {len(errors)} invalid images. {errors[0].place}: {errors[0].message}"
            events = [
                NewEvent(f"{error.place}: {error.message}", "error", data={"place": error.place}) for error in errors
            ]
            self._fail(lease, InvalidTrainingFile(message, param="training_file"), *events)
            return
        request = HyperparametersRequest.model_validate(job.request["values"])
        hyperparameters = complete(request, model, count, job.request["param"])
        values = hyperparameters.model_dump() | {"seconds_per_step": spec_of(model).seconds_per_step}
        cost = estimated_cost(model, hyperparameters.steps)
        accept = transitions.accept(job.id, lease.token, images=count, hyperparameters=values, cost=cost)
        amount = Amount(device_seconds=cost - (job.cost or 0.0))  # than the request has reserved
        with self._database.transaction() as transaction:
            if amount.device_seconds > 0:
                error = reserve(transaction, self._settings, job.project_id, job.api_key_id, amount)
                if error is not None:
                    raise error
            transaction.execute(accept)

    def _examples(self, job: FineTuningJobRow) -> Examples:
        return Examples(self._settings, self._database, self._storage, self._decoders, job)

    def _train(self, lease: TrainingLease, model: Model) -> None:
        from worker.generators.fine_tuning.trainer import Trainer

        job = lease.job
        hyperparameters = Hyperparameters.model_validate(job.hyperparameters)
        delete_old(training_directory(self._settings))
        trainer = Trainer(model, self._settings, hyperparameters, job.seed)
        try:
            lease.check()
            trainer.encode(self._read(lease, model, hyperparameters.resolution))
            with tempfile.TemporaryDirectory(dir=training_directory(self._settings)) as directory:
                Training(self._settings, self._database, self._storage, lease, trainer, Path(directory)).run()
        finally:
            trainer.close()

    def _read(self, lease: TrainingLease, model: Model, side: int) -> Iterator[tuple[Image.Image, str]]:
        """The images, cropped around their centres to squares, and their captions."""
        for example in self._examples(lease.job).read(model):
            lease.check()
            if isinstance(example, PairError):  # a file that an image was in was deleted meanwhile
                raise InvalidTrainingFile(f"{example.place}: {example.message}", param="training_file")
            image, caption = example
            yield decode.fit(image, side, side), caption
