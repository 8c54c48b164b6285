"""Progress and cancellation for every diffusers pipeline: hooks on the networks that its loops call.

Pipelines differ in their callbacks, and some have none, but each calls a network with a timestep. So steps are counted
there: a step begins when the timestep changes. No pipeline is known by name here. The hooks last for one call.
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
# Names of components that are denoisers even without a timestep, such as aMUSEd's transformer.
_DENOISER_NAMES: Final = ("unet", "transformer", "prior", "decoder")
# Schedulers whose last timestep is the image itself, for which no network is called.
_END_BEFORE_LAST: Final = ("SCMScheduler",)


def denoisers(pipe: Any) -> list[torch.nn.Module]:
    """The networks that a pipeline's loops call, in the order of its components; empty if it has none.

    Our own pipelines name them in `denoiser_names`.
    """
    if names := getattr(type(pipe), "denoiser_names", None):
        return [pipe.components[name] for name in names]
    components = pipe.components.items()
    modules = {name: component for name, component in components if isinstance(component, torch.nn.Module)}
    with_timesteps = [module for module in modules.values() if _timestep_parameter(module) is not None]
    return with_timesteps or [module for name, module in modules.items() if name in _DENOISER_NAMES]


@contextmanager
def report_steps(pipe: Any, reporter: ProgressReporter, requested_steps: int) -> Iterator[None]:
    """Report each denoising step of the one call of `pipe` in the `with` block to `reporter`.

    requested_steps: summed over the pipeline's stages. The reporter gets 0 before the first step, never a smaller
    number than before, and the total when the call has returned. An exception of the reporter ends the call in
    mid-step. The pipeline can be called again: each call sets its schedulers anew.
    """
    counter = _StepCounter(reporter, _schedulers(pipe), requested_steps)
    handles = [module.register_forward_pre_hook(counter.before, with_kwargs=True) for module in denoisers(pipe)]
    try:
        yield
        counter.finish()
    finally:
        for handle in handles:
            handle.remove()


class _StepCounter:
    """Counts the steps of one call of a pipeline.

    A step begins when the timestep differs from that of the last network call. The two calls of a step with guidance,
    or of a control network and its denoiser, have the same timestep. Each stage of a cascade begins at another timestep
    than the last of the stage before.
    """

    def __init__(self, reporter: ProgressReporter, schedulers: list[Any], requested_steps: int) -> None:
        self._reporter = reporter
        self._schedulers = schedulers
        self._requested_steps = requested_steps
        self._total = 0  # unknown until the first step: the pipeline sets its scheduler during the call
        self._begun_count = 0
        self._last: float | None = None
        self._lock = Lock()  # a pipeline may call its denoiser from several threads

    def before(self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        timestep = _timestep(module, args, kwargs)
        with self._lock:
            self._count(timestep)

    def _count(self, timestep: float | None) -> None:
        if self._begun_count and timestep is not None and timestep == self._last:
            return
        self._last = timestep
        self._total = self._total or self._steps(timestep)
        # If a solver takes more steps than its total, the number stays at total - 1 until the call returns.
        self._reporter.step(min(self._begun_count, max(self._total - 1, 0)), self._total)
        self._begun_count += 1

    def finish(self) -> None:
        total = self._total or self._requested_steps
        self._reporter.step(total, total)

    def _steps(self, first: float | None) -> int:
        """The number of distinct timesteps of the only scheduler, from the first timestep of this call.

        With several schedulers it is the requested number: the later schedulers still have the timesteps of an
        earlier call.
        """
        if len(self._schedulers) != 1 or (timesteps := getattr(self._schedulers[0], "timesteps", None)) is None:
            return self._requested_steps
        times = [float(timestep) for timestep in timesteps]
        if type(self._schedulers[0]).__name__ in _END_BEFORE_LAST:
            del times[-1]
        # An edit does not begin at the first timestep. Most schedulers know the index; else the timestep gives it.
        begin = getattr(self._schedulers[0], "begin_index", None)
        if begin is None:
            begin = times.index(first) if first in times and not self._is_scaled(first, times[0]) else 0
        # Second-order solvers list a timestep twice in a row, for their two evaluations.
        return len(list(groupby(times[begin:])))

    def _is_scaled(self, first: float | None, start: float) -> bool:
        """Whether a network's timestep is that of the start, scaled to 1, which may be the scheduler's last one."""
        config = getattr(self._schedulers[0], "config", {})
        return first == 1 and start == config.get("num_train_timesteps")


def _schedulers(pipe: Any) -> list[Any]:
    components = pipe.components.values()
    schedulers = {id(component): component for component in components if hasattr(component, "set_timesteps")}
    return list(schedulers.values())


def _timestep_parameter(module: torch.nn.Module) -> tuple[int, str] | None:
    """Position and name of the timestep among the arguments of a network's forward()."""
    for position, name in enumerate(inspect.signature(module.forward).parameters):
        if name in _TIMESTEP_NAMES:
            return position, name
    return None


def _timestep(module: torch.nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> float | None:
    """The timestep of a network's call; the largest one of a batch.

    Reading it waits for the device. So the reporter gets the steps that the device has done, not those in its queue.
    """
    if (parameter := _timestep_parameter(module)) is None:
        return None
    position, name = parameter
    value = args[position] if position < len(args) else kwargs.get(name)
    return float(value.max()) if isinstance(value, torch.Tensor) else None if value is None else float(value)
