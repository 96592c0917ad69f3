"""What the benchmarks share: turns taken, medians of ratios, and the machine they ran on."""

import gc
import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable

import torch

Cases = dict[str, Callable[[], object]]


def machine(*packages: str) -> str:
    """One line: cores, instruction set, versions."""
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("torch", *packages)
    )
    what = (
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else torch.backends.cpu.get_cpu_capability()
    )
    bf16 = " with bf16" if torch.cpu._is_avx512_bf16_supported() else ""
    cores = f"{os.cpu_count()} cores ({torch.get_num_threads()} threads), {what}{bf16}"
    return f"{cores}; Python {platform.python_version()}, {versions}"


def interleaved(cases: Cases, rounds: int, *, cpu: bool = False) -> dict[str, list[float]]:
    """Seconds of each case, in turns, so that a machine's moods hit all; the first, unmeasured
    turn warms up.

    With ``cpu`` they are the processor's seconds in this process, of all its threads.
    """
    clock = time.process_time if cpu else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(rounds + 1):
        for name, work in cases.items():
            gc.collect()
            began = clock()
            work()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:
                times[name].append(clock() - began)
    return times


def ratio(times: dict[str, list[float]], name: str, against: str) -> float:
    """The median, over the turns, of one case's time by another's."""
    return statistics.median(a / b for a, b in zip(times[name], times[against], strict=True))


def report(title: str, times: dict[str, list[float]], against: str) -> None:
    """A table as Markdown: median milliseconds, and the median ratio to one case."""
    print(f"\n{title}\n\n| | ms | × {against} |\n|---|--:|--:|")
    for name, seconds in times.items():
        print(
            f"| {name} | {_digits(1e3 * statistics.median(seconds))} | "
            f"{ratio(times, name, against):.3f} |",
            flush=True,
        )


def _digits(value: float) -> str:
    return f"{value:,.1f}" if value >= 100 else f"{value:.3g}"


def memory() -> tuple[int, int]:
    """Bytes this process holds now, and the most it held since the last call (Linux)."""
    with open("/proc/self/status") as file:
        lines = dict(line.split(":", 1) for line in file)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # starts the peak again from what is held now
    return int(lines["VmRSS"].split()[0]) * 1024, int(lines["VmHWM"].split()[0]) * 1024
