"""What every training stage shares: a clock, a learning rate, averaged weights, and checkpoints to resume from.

Does not know any network. An interrupted stage continues from its last checkpoint, with the time it had used.
A finished stage returns at once.
"""

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.optim import Optimizer

from training.configuration import Budget

SAVE_EVERY_SECONDS = 150
MEAN_OVER_STEPS = 10
REPORT_EVERY_STEPS = 50
VERSIONS = {"python": platform.python_version()} | {
    name: version(name) for name in ("torch", "transformers", "diffusers", "numpy", "pillow")
}
"""What a checkpoint was made with; it is kept in there, beside the seed."""
_COUNTED = ("steps", "samples", "seconds", "losses")


_Network = TypeVar("_Network", bound=nn.Module)


def channels_last(network: _Network) -> _Network:
    """Lay the kernels out as (out, height, width, in): six times as fast in bfloat16 on a CPU."""
    return network.to(memory_format=torch.channels_last)  # type: ignore[no-any-return, call-overload]  # stub lacks it


class Average:
    """An exponential moving average of a network's parameters, which samples better than the last ones."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._parameters = [p for p in network.parameters() if p.requires_grad]
        self._decay = decay
        self.shadow = [p.detach().clone() for p in self._parameters]

    @torch.no_grad()
    def update(self, step: int, steps: int = 1) -> None:
        """Move towards the current parameters. The first steps count more, so the initial values soon fade."""
        decay = min(self._decay, (1 + step) / (10 + step)) ** steps
        torch._foreach_lerp_(self.shadow, [p.detach() for p in self._parameters], 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the averaged parameters into the network for a while."""
        original = [p.detach().clone() for p in self._parameters]
        self._copy(self.shadow)
        try:
            yield
        finally:
            self._copy(original)

    @torch.no_grad()
    def _copy(self, values: list[Tensor]) -> None:
        torch._foreach_copy_(list[Tensor](self._parameters), values)

    def state_dict(self) -> dict[str, Any]:
        return {"shadow": self.shadow}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        with torch.no_grad():
            torch._foreach_copy_(self.shadow, state["shadow"])


def restore(network: _Network, path: Path, part: str = "network") -> _Network:
    """Give a network the averaged weights of a checkpoint, and make it ready for use. `part`: its name in there."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    network.load_state_dict(state[part])
    with torch.no_grad():
        torch._foreach_copy_(list[Tensor](network.parameters()), state["average"]["shadow"])
    return network.eval()


class Bar:
    """How far a stage is, on a terminal; elsewhere nothing is shown."""

    def __init__(self, name: str, *, is_shown: bool) -> None:
        console = Console(stderr=True)
        columns = (
            TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(),
            TextColumn("{task.fields[message]}"),
        )  # fmt: skip
        self._progress = Progress(*columns, console=console, disable=not (is_shown and console.is_terminal))
        self._task = self._progress.add_task(name, total=1.0, message="")
        self._progress.start()

    def show(self, fraction: float) -> None:
        """Move to the fraction of the budget that is used; the bar ends at 1."""
        self._progress.update(self._task, completed=min(1.0, fraction))
        if fraction >= 1:
            self._progress.stop()

    def tell(self, message: str) -> None:
        """Write something behind the bar."""
        self._progress.update(self._task, message=message)

    @property
    def is_shown(self) -> bool:
        """Whether there is a terminal to show it on."""
        return not self._progress.disable


class Run:
    """The bookkeeping of one stage: `while run.going(): …; run.step(…); run.save_now_and_then()`."""

    def __init__(self, path: Path, budget: Budget, seed: int, *, writes: bool = True, **parts: Any) -> None:
        self.path, self.budget, self.seed = path, budget, seed
        self.steps, self.samples, self.seconds, self.is_finished = 0, 0, 0.0, False
        self._parts, self._writes = parts, writes
        self.losses: list[float] = []
        """One mean for every ten steps."""
        self._recent: list[float] = []
        if path.exists():
            self._load()
        torch.manual_seed(seed * 1_000_003 + self.steps)  # a resumed run must not repeat its first random numbers
        self._clock = self._saved_at = time.monotonic()
        self._bar = Bar(path.stem, is_shown=writes and not self.is_finished)

    @property
    def fraction(self) -> float:
        return self.budget.fraction(step=self.steps, seconds=self.seconds)

    def going(self) -> bool:
        """Whether the budget allows another step."""
        time_now = time.monotonic()
        self.seconds += time_now - self._clock
        self._clock = time_now
        self._bar.show(1.0 if self.is_finished else self.fraction)
        return not self.is_finished and self.fraction < 1

    def set_rate(self, optimizers: list[Optimizer], *, warm_up: int, hold: float) -> None:
        """Warm up, hold until the fraction `hold` of the budget, then fall to zero in a straight line."""
        rate_share = min(1.0, max(0.02, (1 - self.fraction) / (1 - hold)))
        scale = min(1.0, (self.steps + 1) / warm_up) * rate_share
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * scale

    def step(self, loss: float, samples: int) -> None:
        """Count one step on so many samples, and report now and then."""
        self.steps += 1
        self.samples += samples
        self._recent.append(loss)
        if self.steps % MEAN_OVER_STEPS == 0:
            self.losses.append(sum(self._recent) / len(self._recent))
            self._recent.clear()
        if self._writes and self.steps % REPORT_EVERY_STEPS == 0:
            means = self.losses[-REPORT_EVERY_STEPS // MEAN_OVER_STEPS :]
            rate = self.samples / max(1.0, self.seconds)
            message = f"loss {sum(means) / len(means):.4f}, {self.samples} seen, {rate:.0f}/s"
            if self._bar.is_shown:
                self._bar.tell(message)
            else:
                print(f"{self.path.stem}: step {self.steps}, {self.seconds:.0f} s, {message}", flush=True)

    def save_now_and_then(self) -> None:
        """Save if the last time was a while ago; call it between steps, when all parts agree."""
        if time.monotonic() - self._saved_at > SAVE_EVERY_SECONDS:
            self.save()

    def save(self, *, is_finished: bool = False) -> None:
        """Write the checkpoint whole or not at all."""
        self.is_finished = is_finished
        self._saved_at = time.monotonic()
        if not self._writes:
            return
        states = {name: part.state_dict() for name, part in self._parts.items()}
        about = {name: getattr(self, name) for name in (*_COUNTED, "seed")}
        about |= {"finished": self.is_finished, "versions": VERSIONS}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(".part")
        torch.save({**about, **states}, draft)
        os.replace(draft, self.path)

    def _load(self) -> None:
        state = torch.load(self.path, map_location="cpu", weights_only=True)
        for name in _COUNTED:
            setattr(self, name, state[name])
        self.is_finished = state["finished"] and self.fraction >= 1  # a larger budget continues a finished run
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
