"""The files of fine-tuned LoRAs on a worker's disk: copies of objects in storage, of which the last used stay."""

import hashlib
from pathlib import Path

from core.settings import Settings


def fine_tuned_directory(settings: Settings) -> Path:
    """The directory of the copies."""
    return settings.data_dir / "fine-tuned"


def file_name(model_name: str) -> str:
    """The name of the copy of a model's LoRA. Names of models are not used again, so a copy never changes."""
    return f"{hashlib.sha256(model_name.encode()).hexdigest()[:40]}.safetensors"
