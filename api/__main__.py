"""`python -m api`: the API's process. Settings come from the environment."""

import gc

gc.disable()  # what imports create stays: to look for garbage among it takes a fifth of the start

from api.edge.server import run  # noqa: E402
from core.permissions import make_private  # noqa: E402
from core.settings.environment import read_or_exit  # noqa: E402

if __name__ == "__main__":
    settings = read_or_exit()
    make_private(settings.data_dir)
    run(settings)
