"""Karlo's folders (UnCLIPPipeline, UnCLIPImageVariationPipeline) under a diffusers that has moved their classes.

Their model_index.json says that the text projection comes from the module "unclip" of diffusers.pipelines. That module
has moved to diffusers.pipelines.deprecated and left no name behind, so diffusers can neither load such a folder nor
one that it has saved itself. Putting the name back is all it takes: the pipelines still draw, with one generator a
image, and their stages are counted and stopped by the hook that does so for every pipeline. A pipeline class of our
own would repeat three hundred lines of sampling to gain nothing but previews and a negative prompt.

The name is there for as long as it is needed and no longer, for diffusers would take our own package of the same name
for that module.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import diffusers.pipelines
from diffusers import DiffusionPipeline


@contextmanager
def module_in_place() -> Iterator[None]:
    """Have `diffusers.pipelines.unclip`, where Karlo's folders look for it, for as long as this lasts."""
    pipelines: Any = diffusers.pipelines
    if hasattr(pipelines, "unclip"):
        yield
        return
    from diffusers.pipelines.deprecated import unclip
    from diffusers.pipelines.deprecated.unclip.text_proj import UnCLIPTextProjModel

    unclip.UnCLIPTextProjModel = UnCLIPTextProjModel
    pipelines.unclip = unclip
    try:
        yield
    finally:
        del pipelines.unclip


class KarloLoader:
    """Loads and downloads as `DiffusionPipeline` does, with the module in its place."""

    @staticmethod
    def from_pretrained(folder: Any, **options: Any) -> Any:
        """See `diffusers.DiffusionPipeline.from_pretrained`."""
        with module_in_place():
            return DiffusionPipeline.from_pretrained(folder, **options)

    @staticmethod
    def download(name: str, **options: Any) -> Any:
        """See `diffusers.DiffusionPipeline.download`."""
        with module_in_place():
            return DiffusionPipeline.download(name, **options)
