"""The threads of an API process, by purpose; see `core/threads.py`."""

from core.threads import FairThreads


class Threads:
    """Threads for calls that take long. Each kind of work has its own, and a project may use only some of them."""

    def __init__(self) -> None:
        self.parsing = FairThreads("parse", threads=4, per_project=1)
        """Reads JSON bodies that may be large. It takes CPU time only."""

        self.dry_runs = FairThreads("dry-run", threads=4, per_project=1)
        """Validates the lines of small dry runs; a process does it for others (`core/batches/checkers.py`)."""

        self.storage = FairThreads("store", threads=32, per_project=8)
        """Writes input images and the requests of batches to the storage."""

        self.downloads = FairThreads("download", threads=16, per_project=4)
        """Packs the images of batches as zip archives, a chunk a call."""

        self.previews = FairThreads("preview", threads=4, per_project=1)
        """Makes smaller versions of images for agents, which takes CPU time and up to 64 MB each."""

        self.thumbnails = FairThreads("thumbnail", threads=4, per_project=2)
        """Makes smaller versions of images for lists of images, as a page of the studio shows them."""

        self.webhook_tests = FairThreads("webhook-test", threads=64, per_project=2, max_waiting=0)
        """Sends test events. A receiver may take up to `webhook_timeout` to respond."""

    def close(self) -> None:
        """Drop the calls that wait. Those that run end by themselves."""
        for threads in vars(self).values():
            threads.close()
