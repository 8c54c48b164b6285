"""The process of the training worker. Any number may run; each trains one job at a time."""

import logging
import signal
import threading

from core.permissions import make_private
from core.settings.environment import log_unknown, read_or_exit
from core.telemetry import logs, metrics
from worker.training.worker import TrainingWorker, worker_name

log = logging.getLogger("worker.training")


def main() -> None:
    """Train until SIGTERM or SIGINT, which stores the state of a training first."""
    settings = read_or_exit()
    make_private(settings.data_dir)
    logs.install(settings)
    log_unknown()
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # threads inherit it, so only sigwait takes them
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # "read the catalogue again": it follows its file
    metrics.serve(settings.metrics_host, settings.metrics_port)
    stop = threading.Event()
    training = threading.Thread(target=TrainingWorker(settings, worker_name()).run, args=[stop], name="training")
    training.start()
    log.info("training worker is ready")
    signal.sigwait(signals)
    stop.set()
    training.join()


if __name__ == "__main__":
    main()
