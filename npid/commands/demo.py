from pathlib import Path
from typing import Annotated, Any

import typer

MODEL, DATA = "npid-cifar10-small", "digits"
_NEXT = f"""Next, on your own images (photos/train/CLASS/…, photos/test/CLASS/…):
  npid finetune {MODEL} photos/ --labels 5,10 --preset few --seeds 3     what you just saw
  npid knn {MODEL} photos/ --k 20                                        no training at all
  npid pretrain photos/ --out run --init {MODEL} --epochs 50             learn from the images without labels
  npid list                                                                            what else there is"""


def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where results and picture go.")] = Path(
        "npid-demo"
    ),
    seeds: Annotated[
        int, typer.Option(min=2, help="Runs per number of labels, each with images of its own.")
    ] = 3,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Per run; fewer are faster and worse.")
    ] = None,
) -> None:
    """Adapt the bundled backbone to scikit-learn's handwritten digits with 1, 5 and 10 labels per class, beside the
    same network from scratch; about a minute on a CPU, without a network."""
    import time
    from dataclasses import replace

    import torch

    from downstream import finetune as task
    from npid import curves
    from npid.console import progress_bar, table
    from zoo.data.sources import open_source
    from zoo.utils.files import new_folder

    began = time.monotonic()
    torch.set_num_threads(
        1
    )  # enough for batches of ten small images, and on a busy machine more wait for each other
    settings = replace(task.PRESETS["few"], seeds=seeds)
    if steps is not None:
        settings = replace(settings, epochs=1, least_steps=steps)
    train = open_source(DATA)
    sizes = [len(task.subset(train, part, 0)) for part in settings.labels]
    with new_folder(out, replace=_is_demo(out)) as aside:
        with progress_bar("adapt", task.images_to_train(settings, sizes)) as bar:
            results = task.run(MODEL, DATA, settings, progress=bar.add)
        results.append(aside / "metrics.json")
        drawn = _draw(aside / "demo.png", results)
    test = results.split_sizes["test"]
    title = f"{MODEL}, trained on photographs without labels, adapted to digits: top-1 on {test} test images, %"
    table(title, ("labels per class", "images", *curves.inits(results)), curves.rows(results))
    for part in settings.labels:
        typer.echo(_verdict(results, part))
    where = f"picture {out / 'demo.png'}" if drawn else "no picture (pip install 'npid-zoo[viz]')"
    typer.echo(
        f"results {out / 'metrics.json'}, {where}; {time.monotonic() - began:.0f} seconds\n\n{_NEXT}"
    )


def _is_demo(out: Path) -> bool:
    """Whether the folder holds an earlier demo and nothing else, which may be replaced."""
    return (out / "metrics.json").exists() and {p.name for p in out.iterdir()} <= {
        "metrics.json",
        "demo.png",
    }


def _verdict(results: Any, part: str) -> str:
    """Whether pretraining helped, by more than the runs differ among themselves."""
    m = results.metrics
    gain = m[f"pretrained/{part}/top1"] - m[f"scratch/{part}/top1"]
    spread = max(m[f"pretrained/{part}/top1_std"], m[f"scratch/{part}/top1_std"])
    more = "more" if gain > spread else "not more"
    return f"{part} per class: pretraining gains {100 * gain:+.1f} points, {more} than the seeds' {100 * spread:.1f}"


def _draw(path: Path, results: Any) -> bool:
    """The curve, and a few test digits with the training digits nearest to them in the bundled features."""
    import torch

    import zoo
    from downstream.features.extract import embeddings
    from npid import curves
    from zoo.data.sources import open_source

    try:
        figure = curves.new_figure("the picture", figsize=(10, 4.2))
    except zoo.SettingsError:
        return False
    model, train, test = zoo.load(MODEL), open_source(DATA), open_source(DATA, "test")
    (rows, _), (queries, _) = embeddings(model, train), embeddings(model, test)
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.15))
    curves.draw(left.subplots(), results)
    right.suptitle(
        "Test digits (left), and the nearest training digits\nbefore any adaptation; red: another digit",
        fontsize=9,
    )
    count, near = 5, 7
    panels = right.subplots(count, near + 1)
    assert train.labels is not None and test.labels is not None
    for i, line in enumerate(panels):
        query = i * (len(test) // count)
        nearest = torch.mv(rows, queries[query]).topk(near).indices.tolist()
        for axis, (source, index) in zip(
            line, [(test, query), *((train, j) for j in nearest)], strict=True
        ):
            axis.imshow(source.image(index))
            wrong = source.labels[index] != test.labels[query]  # type: ignore[index]
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set(color="red" if wrong else "black", linewidth=2 if wrong else 0.5)
    figure.savefig(path, dpi=120)
    return True
