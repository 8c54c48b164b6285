"""Progress and cancel for every diffusers pipeline: hooks on the networks that its loops call.

Pipelines differ in their callbacks, and some have none, but each calls a network with a timestep. So steps are counted
there, by the timestep's changes. Nothing here knows a pipeline by name; hooks live as long as one call and no longer.
"""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from threading import Lock
from typing import Any, Final

import torch

from core.generation import ProgressReporter

# What diffusers' networks call the timestep, read from the forward() of every model of diffusers 0.42;
# `time` is the bundled model's.
_TIMESTEP_NAMES: Final = ("timestep", "timesteps", "timestep_ratio", "timestep_img", "time", "t", "r")
# Names of components that are denoisers even without a timestep: aMUSEd's transformer is told none.
_DENOISER_NAMES: Final = ("unet", "transformer", "prior", "decoder")


def denoisers(pipe: Any) -> list[torch.nn.Module]:
    """The networks that a pipeline's loops call, in the order of its components; empty when it has none.

    A pipeline of our own may say by `denoiser_names` whose calls are its steps.
    """
    if names := getattr(type(pipe), "denoiser_names", None):
        return [pipe.components[name] for name in names]
    modules = {name: part for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)}
    timed = [module for module in modules.values() if _timestep_parameter(module) is not None]
    return timed or [module for name, module in modules.items() if name in _DENOISER_NAMES]


@contextmanager
def watched(pipe: Any, reporter: ProgressReporter, asked: int) -> Iterator[None]:
    """Tell `watch` of each denoising step of the one call of `pipe` that is made inside.

    asked: the steps asked for, summed over the pipeline's stages. `watch` hears 0 before the first step, never less
    than before, and the total when the call has returned. What it raises leaves the pipeline in mid-step; the pipeline
    can be called again, for its schedulers are set anew by each call.
    """
    count = _Count(reporter, _schedulers(pipe), asked)
    handles = [module.register_forward_pre_hook(count.before, with_kwargs=True) for module in denoisers(pipe)]
    try:
        yield
        count.finish()
    finally:
        for handle in handles:
            handle.remove()


class _Count:
    """The steps behind one call of a pipeline.

    A step begins when the timestep differs from the last call's: two calls a step under guidance, or a control network
    before the denoiser, carry the same one, while each stage of a cascade starts at another than its forerunner's last.
    """

    def __init__(self, reporter: ProgressReporter, schedulers: list[Any], asked: int) -> None:
        self._reporter = reporter
        self._schedulers = schedulers
        self._asked = asked
        self._total = 0  # unknown until the loop runs: only then has the pipeline set its scheduler
        self._begun = 0
        self._last: float | None = None
        self._lock = Lock()  # a pipeline may call its denoiser from several threads, each with a part of the batch

    def before(self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        timestep = _timestep(module, args, kwargs)
        with self._lock:
            self._hear(timestep)

    def _hear(self, timestep: float | None) -> None:
        if self._begun and timestep is not None and timestep == self._last:
            return
        self._last = timestep
        self._total = self._total or self._steps(timestep)
        # A solver that takes more steps than it announced stays at the last one but one until the call returns.
        self._reporter.step(min(self._begun, max(self._total - 1, 0)), self._total)
        self._begun += 1

    def finish(self) -> None:
        total = self._total or self._asked
        self._reporter.step(total, total)

    def _steps(self, first: float | None) -> int:
        """Distinct timesteps of the only scheduler, from the first one that is drawn.

        With several schedulers, the later ones still hold an older call's.
        """
        if len(self._schedulers) != 1 or (timesteps := getattr(self._schedulers[0], "timesteps", None)) is None:
            return self._asked
        left = [float(timestep) for timestep in timesteps]
        # An edit begins in mid-way. Most schedulers are told where; the others' pipelines show the timestep as it is.
        begin = getattr(self._schedulers[0], "begin_index", None)
        if begin is None:
            begin = left.index(first) if first in left else 0
        # Second-order solvers list a timestep twice in a row, for their two evaluations.
        return len(list(groupby(left[begin:])))


def _schedulers(pipe: Any) -> list[Any]:
    parts = {id(part): part for part in pipe.components.values() if hasattr(part, "set_timesteps")}
    return list(parts.values())


def _timestep_parameter(module: torch.nn.Module) -> tuple[int, str] | None:
    """Position and name of the timestep among the arguments of a network's forward()."""
    for position, name in enumerate(inspect.signature(module.forward).parameters):
        if name in _TIMESTEP_NAMES:
            return position, name
    return None


def _timestep(module: torch.nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> float | None:
    """The timestep a network is called with; of a batch the largest.

    Reading it waits for the device, so what the watch hears is what the device has done, not what is queued for it.
    """
    if (parameter := _timestep_parameter(module)) is None:
        return None
    position, name = parameter
    value = args[position] if position < len(args) else kwargs.get(name)
    return float(value.max()) if isinstance(value, torch.Tensor) else None if value is None else float(value)
