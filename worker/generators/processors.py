"""Loads the processors of models that see images, such as Qwen-Image-Edit, where torchvision is not installed.

A processor of transformers prepares text, images and videos for a language model. Its part for videos needs
torchvision, and no pipeline for images uses that part. The part for images has an implementation with Pillow.
torchvision is no package of the worker's extra: its build must fit that of torch, which depends on the device.
"""

import inspect
import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import transformers


def processors(folder: Path) -> Mapping[str, Any]:
    """The components of a folder that diffusers could not load here, by name; empty if torchvision is installed."""
    if find_spec("torchvision") is not None:
        return {}
    index = json.loads((folder / "model_index.json").read_text("utf-8"))
    kinds = {
        name: getattr(transformers, value[1], None)
        for name, value in index.items()
        if isinstance(value, list) and value[0] == "transformers" and str(value[1]).endswith("Processor")
    }
    return {name: _load(kind, folder / name) for name, kind in kinds.items() if _prepares_videos(kind)}


def without_videos(kind: Any) -> Any:
    """The class of a processor, without its part for videos."""

    def get_attributes(_kind: Any) -> list[str]:
        return ["image_processor", "tokenizer"]

    # The names are those of the class, as diffusers writes them into model_index.json.
    return type(kind.__name__, (kind,), {"__module__": kind.__module__, "get_attributes": classmethod(get_attributes)})


def _prepares_videos(kind: Any) -> bool:
    return kind is not None and "video_processor" in inspect.signature(kind.__init__).parameters


def _load(kind: Any, folder: Path) -> Any:
    options, _ = kind.get_processor_dict(folder, local_files_only=True)
    return without_videos(kind)(
        transformers.AutoImageProcessor.from_pretrained(folder, backend="pil", local_files_only=True),
        transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False),
        chat_template=options.get("chat_template"),
    )
