"""Results as table cells; those of fine-tuning as rows and as a plot, the same in `npid finetune` and `npid demo`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo import SettingsError

if TYPE_CHECKING:
    from zoo.results import Results


def _parts(results: "Results") -> list[str]:
    return [Path(part).name for part in results.settings["labels"]]


def cell(results: "Results", metric: str) -> str:
    """An accuracy in per cent, with its spread where there are more seeds."""
    spread = results.metrics.get(f"{metric}_std")
    return f"{100 * results.metrics[metric]:.2f}" + (
        f" ± {100 * spread:.2f}" if spread is not None else ""
    )


def inits(results: "Results") -> list[str]:
    """What was trained: ``pretrained``, and ``scratch`` where that was asked for."""
    return ["pretrained", *(["scratch"] if results.settings["scratch"] else [])]


def rows(results: "Results") -> list[tuple[object, ...]]:
    """A row per part of the labels: its name, its images, and top-1 in per cent of each beginning."""
    return [
        (
            part,
            results.split_sizes[part],
            *(cell(results, f"{init}/{part}/top1") for init in inits(results)),
        )
        for part in _parts(results)
    ]


def draw(axes: Any, results: "Results") -> None:
    """Accuracy against labelled images, with the standard deviation over the seeds, on matplotlib's axes."""
    parts = _parts(results)
    sizes = [results.split_sizes[part] for part in parts]
    for init in inits(results):
        means = [100 * results.metrics[f"{init}/{part}/top1"] for part in parts]
        spreads = [100 * results.metrics.get(f"{init}/{part}/top1_std", 0.0) for part in parts]
        axes.errorbar(sizes, means, spreads, marker="o", capsize=3, label=init)
    axes.set(
        xscale="log",
        xlabel="labelled images",
        ylabel="top-1, %",
        title=f"fine-tuning on {results.data}",
    )
    axes.set_xticks(sizes, [f"{size}\n{part}" for size, part in zip(sizes, parts, strict=True)])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()


def new_figure(why: str, **size: Any) -> Any:
    """A matplotlib figure.

    Raises:
        SettingsError: saying how to install matplotlib, where it is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SettingsError(f"{why} needs matplotlib: pip install 'npid-zoo[viz]'") from error
    return Figure(layout="constrained", **size)
