"""The process of the sweep."""

import logging
import os
import signal
import threading

from core.permissions import make_private
from core.settings.environment import log_unknown, read_or_exit
from core.telemetry import logs, metrics, tracing
from core.temporary_files import use_directory
from worker.batches.processor import BatchProcessor
from worker.sweep.cleanup import Cleanup
from worker.sweep.erase import Eraser
from worker.sweep.reclaim import Reclaimer

log = logging.getLogger("worker.sweep")

GRACE_SECONDS = 5.0
"""How long the cleanup may still wait for the storage at the end. Its steps may be interrupted anywhere."""


def main() -> None:
    """Sweep until SIGTERM or SIGINT."""
    settings = read_or_exit()
    make_private(settings.data_dir)
    logs.install(settings)
    log_unknown()
    use_directory(settings.data_dir)
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # threads inherit it, so only sigwait takes them
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # "read the catalogue again": the batch processor follows its file
    tracing.install("safelight-sweep")
    metrics.serve(settings.metrics_host, settings.metrics_port)
    stop = threading.Event()
    reclaimer, cleanup, processor = Reclaimer(settings), Cleanup(settings), BatchProcessor(settings)
    eraser = Eraser(settings)
    reclaiming = threading.Thread(target=reclaimer.loop().run, args=[stop], name="reclaim")
    cleaning = threading.Thread(target=cleanup.loop().run, args=[stop], name="cleanup", daemon=True)
    erasing = threading.Thread(target=eraser.loop().run, args=[stop], name="erase", daemon=True)
    processing = threading.Thread(target=processor.run, args=[stop], name="batch processor")
    threads = (reclaiming, cleaning, erasing, processing)
    for thread in threads:
        thread.start()
    log.info("sweeping every %s, cleaning up every %s", settings.sweep, settings.cleanup)
    signal.sigwait(signals)
    stop.set()
    reclaiming.join()
    processing.join()
    cleaning.join(GRACE_SECONDS)
    erasing.join(0 if cleaning.is_alive() else GRACE_SECONDS)
    if cleaning.is_alive() or erasing.is_alive():
        log.warning("cleanup or erasure still waits for the storage; interrupted")
        logging.shutdown()
        os._exit(0)
    reclaimer.close()
    cleanup.close()
    eraser.close()


if __name__ == "__main__":
    main()
