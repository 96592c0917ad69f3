"""What `npid embed` costs beyond the model's bare forward pass, and beyond decoding.

    python benchmarks/embed.py MODEL DATA [--images 4096] [--rounds 7] [--workers 0] [--batch 256]

*bare* is the forward pass alone, over batches that were preprocessed before; *decode* is reading
and preprocessing alone; *embed* is both, and writing the rows, keys and checksums with a flush to
the disk. Turns are taken; shares are medians over the turns. Where images are small and of one
size they are decoded once for all tasks and lie in memory: then embed should take little more
than bare. Otherwise it should take little more than decode where that is slower."""

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
from downstream.features.manifest import StoreManifest
from downstream.features.store_writer import open_writer
from downstream.retrieval import EmbedConfig
from downstream.retrieval.embed import append_images, find_new_images
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
    options = parser.parse_args()
    keep_freed()  # as npid does, for all cases
    print(machine())
    model = zoo.load(options.model)
    whole_source = open_source(options.data)
    count = min(len(whole_source), options.images)
    source = Subset(whole_source, np.arange(count))
    source.array()  # what is small is decoded once, for all tasks
    config = EmbedConfig(workers=options.workers, batch_size=options.batch)
    read = partial(
        image_batches,
        model,
        source,
        batch_size=config.batch_size,
        device=config.device,
        workers=config.workers,
    )
    preprocessed = [images for images, _ in read()]

    def bare() -> None:
        with torch.no_grad():
            for images in preprocessed:
                model.embed(images)

    def decode() -> None:
        for _ in read():
            pass

    def whole() -> None:
        new_manifest = StoreManifest(
            model="", model_sha256="", input={}, dim=model.embed_dim, dtype=config.dtype
        )
        with tempfile.TemporaryDirectory() as folder:
            with open_writer(Path(folder) / "store", new_manifest) as writer:
                append_images(writer, model, source, find_new_images(writer, source), config)

    times = interleaved({"bare": bare, "decode": decode, "embed": whole}, options.rounds)
    title = (
        f"{len(source):,} images of {options.data}, {config.batch_size} a batch, "
        f"{config.workers} workers"
    )
    report(title, times, "embed")
    for name in ("bare", "decode"):
        shares = [a / b for a, b in zip(times[name], times["embed"], strict=True)]
        rate = len(source) / statistics.median(times[name])
        print(f"embed runs at {statistics.median(shares):.3f} of {name}, {rate:,.0f} images/s")


if __name__ == "__main__":
    main()
