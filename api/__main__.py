"""`python -m api`: the API's process. Settings come from the environment."""

from api.edge.server import run
from core.settings import Settings

if __name__ == "__main__":
    run(Settings())
