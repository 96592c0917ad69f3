"""What `npid embed` costs beyond the model's bare forward pass, and beyond decoding.

    python benchmarks/embed.py MODEL DATA [--images 4096] [--rounds 7] [--workers 0] [--batch 256]

*bare* is the forward pass alone, over batches that were preprocessed before; *decode* is reading and preprocessing
alone; *embed* is both, and writing the rows, keys and checksums with a flush to the disk. Turns are taken; shares are
medians over the turns. Where images are small and of one size they are decoded once for all tasks and lie in memory:
then embed should take little more than bare. Otherwise it should take little more than decode where that is slower.
"""

import argparse
import statistics
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from timing import interleaved, machine, report

import zoo
from downstream.features.extract import image_batches
from downstream.features.store import Manifest
from downstream.features.store_writer import writing
from downstream.retrieval import EmbedSettings
from downstream.retrieval.embed import begin, fill
from npid.malloc import keep_freed
from zoo.data.sources import Subset, open_source


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--batch", type=int, default=256)
    asked = parser.parse_args()
    keep_freed()  # as npid does, for all cases
    print(machine())
    model, source = zoo.load(asked.model), open_source(asked.data)
    source = Subset(source, np.arange(min(len(source), asked.images)))
    source.array()  # what is small is decoded once, for all tasks
    settings = EmbedSettings(workers=asked.workers, batch=asked.batch)
    read = partial(
        image_batches, model, source, batch_size=settings.batch, device="cpu", workers=asked.workers
    )
    ready = [images for images, _ in read()]

    def bare() -> None:
        with torch.no_grad():
            for images in ready:
                model.embed(images)

    def decode() -> None:
        for _ in read():
            pass

    def whole() -> None:
        fresh = Manifest(
            model="", model_sha256="", input={}, dim=model.embed_dim, dtype=settings.dtype
        )
        with (
            tempfile.TemporaryDirectory() as folder,
            writing(Path(folder) / "store", fresh) as writer,
        ):
            fill(writer, model, source, *begin(writer, source), settings)

    times = interleaved({"bare": bare, "decode": decode, "embed": whole}, asked.rounds)
    report(
        f"{len(source):,} images of {asked.data}, {settings.batch} a batch, {asked.workers} workers",
        times,
        "embed",
    )
    for name in ("bare", "decode"):
        share = statistics.median(a / b for a, b in zip(times[name], times["embed"], strict=True))
        print(
            f"embed runs at {share:.3f} of {name}, {len(source) / statistics.median(times[name]):,.0f} images/s"
        )


if __name__ == "__main__":
    main()
