"""How a model is loaded: the part of its catalogue entry that the worker's loader reads."""

from pathlib import PurePosixPath
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from core.weights import PICKLES


class Loading(BaseModel):
    """The fields of a model that say what is loaded, and how. All are for `diffusers_local` only."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str = Field(
        "",
        description="Directory (relative to models_dir) or hub id of a diffusers pipeline, or a checkpoint: one "
        "`.safetensors` file with the whole model or its denoiser.",
    )
    config: str = Field(
        "",
        description="Of a checkpoint: directory (relative to models_dir) or hub id of a diffusers pipeline of its "
        "family, for the configuration, the tokenizers, and the parts that the file does not have. A hub id must be in "
        "the cache.",
    )
    revision: str | None = Field(None, description="Commit of the hub repository; part of the micro-batch key.")

    @property
    def is_checkpoint(self) -> bool:
        """Whether `source` is one file."""
        return PurePosixPath(self.source).suffix == ".safetensors"

    @model_validator(mode="after")
    def _source_can_be_loaded(self) -> Self:
        if (suffix := PurePosixPath(self.source).suffix) in PICKLES:
            raise ValueError(
                f"source: {self.source} may be a pickle ({suffix}), which can run code when it is loaded; "
                "only .safetensors files are read"
            )
        if self.is_checkpoint and not self.config:
            raise ValueError(
                f"config is missing: {self.source} is one file, so config must name a directory or hub id of a "
                "diffusers pipeline of its family"
            )
        if self.config and not self.is_checkpoint:
            raise ValueError("config is only for a source that is one .safetensors file")
        return self
