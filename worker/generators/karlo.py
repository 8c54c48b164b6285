"""Karlo's folders (UnCLIPPipeline, UnCLIPImageVariationPipeline) under a diffusers that has moved their classes.

Their model_index.json says that the text projection comes from the module "unclip" of diffusers.pipelines. That module
has moved to diffusers.pipelines.deprecated without an alias. So diffusers can load neither such a folder nor one that
it has saved itself. Restoring the old name is enough: the pipelines work, with one torch generator per image, and the
hooks of `denoiser.py` count and stop their steps. Our own pipeline class would repeat three hundred lines of sampling
and add only previews and a negative prompt. Stable Cascade's folders refer to the module "wuerstchen" in the same way.

The name is restored only during loading, because otherwise diffusers would confuse it with our package `unclip`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import diffusers.pipelines
from diffusers import DiffusionPipeline


@contextmanager
def old_module_name() -> Iterator[None]:
    """Restore the name `diffusers.pipelines.unclip`, which Karlo's folders refer to, for the `with` block."""
    pipelines: Any = diffusers.pipelines
    if hasattr(pipelines, "unclip"):
        yield
        return
    from diffusers.pipelines.deprecated import unclip, wuerstchen
    from diffusers.pipelines.deprecated.unclip.text_proj import UnCLIPTextProjModel

    unclip.UnCLIPTextProjModel = UnCLIPTextProjModel
    pipelines.unclip, pipelines.wuerstchen = unclip, wuerstchen
    try:
        yield
    finally:
        del pipelines.unclip, pipelines.wuerstchen


class KarloLoader:
    """Loads and downloads as `DiffusionPipeline` does, with the old module name restored."""

    @staticmethod
    def from_pretrained(folder: Any, **options: Any) -> Any:
        """See `diffusers.DiffusionPipeline.from_pretrained`."""
        with old_module_name():
            return DiffusionPipeline.from_pretrained(folder, **options)

    @staticmethod
    def download(name: str, **options: Any) -> Any:
        """See `diffusers.DiffusionPipeline.download`."""
        with old_module_name():
            return DiffusionPipeline.download(name, **options)
