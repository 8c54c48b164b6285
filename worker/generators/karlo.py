"""Karlo's folders (UnCLIPPipeline, UnCLIPImageVariationPipeline) under a diffusers that has moved their classes.

Their model_index.json says that the text projection comes from the module "unclip" of diffusers.pipelines. That module
has moved to diffusers.pipelines.deprecated and left no name behind, so diffusers can neither load such a folder nor
one that it has saved itself. Putting the name back is all it takes: the pipelines still draw, with one generator a
picture, and their stages are counted and stopped by the hook that does so for every pipeline. A pipeline class of our
own would repeat three hundred lines of sampling to gain nothing but previews and a negative prompt.
"""

from typing import Any

import diffusers.pipelines

_MODULE = "unclip"


def make_loadable() -> None:
    """Put `diffusers.pipelines.unclip` back where Karlo's folders look for it; do nothing where it still is."""
    pipelines: Any = diffusers.pipelines
    if hasattr(pipelines, _MODULE):
        return
    from diffusers.pipelines.deprecated import unclip
    from diffusers.pipelines.deprecated.unclip.text_proj import UnCLIPTextProjModel

    unclip.UnCLIPTextProjModel = UnCLIPTextProjModel
    pipelines.unclip = unclip
