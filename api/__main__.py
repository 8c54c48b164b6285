"""`python -m api`: the API's process. Settings come from the environment."""

from api.edge.server import run
from core.permissions import make_private
from core.settings import Settings

if __name__ == "__main__":
    settings = Settings()
    make_private(settings.data_dir)
    run(settings)
