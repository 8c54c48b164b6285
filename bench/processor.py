"""Processor time of processes, as the kernel counts it."""

from collections.abc import Mapping, Sequence

import psutil


def processor_seconds(pid: int) -> dict[int, tuple[str, float]]:
    """The program of each process below another, with it, and the processor time that it has used."""
    root = psutil.Process(pid)
    seconds = {}
    for process in [root, *root.children(recursive=True)]:
        try:
            times = process.cpu_times()
            seconds[process.pid] = program_of(process), times.user + times.system
        except psutil.NoSuchProcess:
            continue
    return seconds


def seconds_below(pid: int) -> float:
    """The processor time of all processes below another, without it, and of their children that have ended."""
    total = 0.0
    for process in psutil.Process(pid).children(recursive=True):
        try:
            total += sum(process.cpu_times()[:4])  # user, system, and both of the children that it has waited for
        except psutil.NoSuchProcess:
            continue
    return total


def seconds_of(processes: Sequence[psutil.Process]) -> float:
    """The processor time that processes have used."""
    times = [process.cpu_times() for process in processes if process.is_running()]
    return sum(time.user + time.system for time in times)


def shares(
    before: Mapping[int, tuple[str, float]], after: Mapping[int, tuple[str, float]], seconds: float
) -> dict[str, float]:
    """Percent of a core by program, between two results of `processor_seconds`."""
    percent: dict[str, float] = {}
    for pid, (program, value) in after.items():
        delta = value - before.get(pid, (program, 0.0))[1]
        percent[program] = percent.get(program, 0.0) + 100 * delta / seconds
    return percent


def program_of(process: psutil.Process) -> str:
    """What a process is, in a word or two."""
    words = process.cmdline()
    if "-m" in words:
        module = words[words.index("-m") + 1]
        return "worker" if module == "celery" else module
    return process.name() if len(words) < 2 or not words[0].startswith("postgres:") else words[0]
