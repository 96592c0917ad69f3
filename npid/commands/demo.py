"""The command that shows in a minute what pretraining is good for."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from npid.printing import echo

if TYPE_CHECKING:
    from downstream.finetune import FinetuneConfig
    from zoo.results import Results

MODEL = "npid-cifar10-small"
DATA = "digits"
_NEXT = f"""Next, on your own images (photos/train/CLASS/…, photos/test/CLASS/…):
  npid finetune {MODEL} photos/ --labels 5,10 --preset few --seeds 3
      what you just saw
  npid knn {MODEL} photos/ --k 20
      no training at all
  npid pretrain photos/ --out run --init {MODEL} --epochs 50
      learn from the images without labels
  npid list
      what else there is"""

_QUERIES = 5  # of the picture
_NEIGHBOURS = 7  # of each of them


def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where results and picture go.")] = Path(
        "npid-demo"
    ),
    seeds: Annotated[
        int, typer.Option(min=2, help="Runs per number of labels, each with images of its own.")
    ] = 3,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps per run; fewer are faster and worse.")
    ] = None,
) -> None:
    """Adapt the bundled backbone to handwritten digits with 1, 5 and 10 labels per class.

    The same network is trained from scratch beside it. It takes about a minute on a CPU, without a
    network.
    """
    import time
    from dataclasses import replace

    import torch

    from downstream.task import TaskInputs
    from downstream.tasks import TASKS
    from npid.console import progress_bar, table
    from zoo.utils.files import new_folder

    began = time.monotonic()
    # one is enough for batches of ten small images, and on a busy machine more wait for each other
    torch.set_num_threads(1)
    task = TASKS["finetune"]
    config: FinetuneConfig = replace(task.presets["few"], seeds=seeds)
    if steps is not None:
        config = replace(config, epochs=1, least_steps=steps)
    inputs = TaskInputs(MODEL, DATA)
    with new_folder(out, replace=_is_demo(out)) as folder:
        with progress_bar("adapt", task.num_images(inputs, config)) as progress:
            results = task.run(inputs, config, progress.add)
        results.append(folder / "metrics.json")
        drawn = _draw(folder / "demo.png", results, inputs)
    test = results.split_sizes["test"]
    title = f"{MODEL}, trained on photographs without labels, adapted to digits: "
    shown = task.table(results)
    columns = ("labels per class", *shown.columns[1:])
    table(f"{title}top-1 on {test} test images, %", columns, shown.rows)
    for part in config.labels:
        echo(_verdict(results, part))
    picture = f"picture {out / 'demo.png'}" if drawn else "no picture (pip install 'npid-zoo[viz]')"
    seconds = time.monotonic() - began
    echo(f"results {out / 'metrics.json'}, {picture}; {seconds:.0f} seconds\n\n{_NEXT}")


def _is_demo(out: Path) -> bool:
    """Whether the folder holds an earlier demo and nothing else, which may be replaced."""
    if not (out / "metrics.json").exists():
        return False
    return {path.name for path in out.iterdir()} <= {"metrics.json", "demo.png"}


def _verdict(results: "Results", part: str) -> str:
    """Whether pretraining helped, by more than the runs differ among themselves."""
    metrics = results.metrics
    gain = metrics[f"pretrained/{part}/top1"] - metrics[f"scratch/{part}/top1"]
    spread = max(metrics[f"pretrained/{part}/top1_std"], metrics[f"scratch/{part}/top1_std"])
    more = "more" if gain > spread else "not more"
    return (
        f"{part} per class: pretraining gains {100 * gain:+.1f} points, {more} than the seeds' "
        f"{100 * spread:.1f}"
    )


def _draw(path: Path, results: "Results", inputs: Any) -> bool:
    """Draw the curve, and a few test digits with the training digits nearest to them."""
    from downstream.features.extract import embeddings
    from downstream.figures import draw_on_axes, new_canvas, save_canvas
    from downstream.tasks import TASKS
    from zoo.errors import SettingsError

    try:
        canvas = new_canvas("the picture", figsize=(10, 4.2))
    except SettingsError:
        return False
    train_rows, _ = embeddings(inputs.model, inputs.train)
    test_rows, _ = embeddings(inputs.model, inputs.test)
    left, right = canvas.subfigures(1, 2, width_ratios=(1, 1.15))
    [figure] = TASKS["finetune"].figures(results, MODEL)
    draw_on_axes(left.subplots(), figure)
    right.suptitle(
        "Test digits (left), and the nearest training digits\n"
        "before any adaptation; red: another digit",
        fontsize=9,
    )
    train_labels, _ = inputs.train.require_labels()
    test_labels, _ = inputs.test.require_labels()
    panels = right.subplots(_QUERIES, _NEIGHBOURS + 1)
    for line, axes in enumerate(panels):
        query = line * (len(inputs.test) // _QUERIES)
        _show_digit(axes[0], inputs.test.image(query), wrong=False)
        nearest = (train_rows @ test_rows[query]).topk(_NEIGHBOURS).indices.tolist()
        for axis, index in zip(axes[1:], nearest, strict=True):
            wrong = bool(train_labels[index] != test_labels[query])
            _show_digit(axis, inputs.train.image(index), wrong)
    save_canvas(canvas, path, "the picture", dpi=120)
    return True


def _show_digit(axis: Any, image: Any, wrong: bool) -> None:
    axis.imshow(image)
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set(color="red" if wrong else "black", linewidth=2 if wrong else 0.5)
