"""The features of a collection of images as a store: goes on where it stopped, and takes in new images."""

import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import zoo
from downstream.features.extract import OnImages, image_batches
from downstream.features.store import DTYPES, Manifest, Part, Store
from downstream.features.store_writer import Writer, writing
from zoo import Backbone, DataError, SettingsError
from zoo.data.sources import Source, canonical_name, open_source
from zoo.models.model_dir import WEIGHTS, sha256

_BLOCK = 16384  # rows: what a crash may cost


@dataclass(frozen=True, kw_only=True)
class Settings:
    """
    Attributes:
        split: of the data set, ``train`` or ``test``.
        dtype: of the stored rows, ``float32`` or ``bfloat16``.
        device, workers, batch: how images are embedded.
        skip_bad: whether unreadable images are left out.
    """

    split: str = "train"
    dtype: str = "float32"
    device: str = "cpu"
    workers: int = 0
    batch: int = 256
    skip_bad: bool = False


def embed(
    model: str | Path,
    data: str,
    out: str | Path,
    settings: Settings,
    progress: OnImages | None = None,
) -> Store:
    """Embed the images that the store does not have yet.

    Args:
        model: anything that ``zoo.load`` takes.
        data: anything that ``open_source`` takes.
        out: folder of the store; made, or appended to.
        settings: how.
        progress: is called with the number of images at a time; first with those that were there already.

    Raises:
        DataError: if the store holds features of another model, images of it have changed since, or none can be read.
        WriteError: if it cannot be written; the blocks that were are kept.
    """
    if settings.dtype not in DTYPES:
        raise SettingsError(f"dtype must be {' or '.join(DTYPES)}, got {settings.dtype!r}")
    source = open_source(data, settings.split, skip_bad=settings.skip_bad)
    folder = zoo.locate(model)
    backbone = zoo.load(folder)
    fresh = Manifest(
        model=str(Path(folder).resolve()) if Path(str(model)).exists() else str(model),
        model_sha256=sha256(folder / WEIGHTS),
        input={
            **asdict(backbone.input),
            "mean": list(backbone.input.mean),
            "std": list(backbone.input.std),
        },
        dim=backbone.embed_dim,
        dtype=settings.dtype,
    )
    with writing(out, fresh) as writer:
        todo, stamps = begin(writer, source)
        if progress is not None and len(todo) < len(source):
            progress(len(source) - len(todo))
        fill(writer, backbone, source, todo, stamps, settings, progress)
        if not writer.manifest.count:
            raise DataError(f"{data}: none of its {len(source)} images could be read")
    return Store.open(out)


@torch.no_grad()
def fill(
    writer: Writer,
    model: Backbone,
    source: Source,
    index: np.ndarray,
    stamps: np.ndarray,
    settings: Settings,
    progress: OnImages | None = None,
) -> None:
    """Embed some images of a source and append them by blocks.

    Args:
        model: in eval mode.
        index, stamps: of the images (:func:`begin`).
    """
    block: list[tuple[np.ndarray, np.ndarray, Tensor]] = []
    start = 0
    images_of = partial(
        image_batches, batch_size=settings.batch, device=settings.device, workers=settings.workers
    )
    model = model.to(settings.device)
    for images, good in images_of(model, source, indices=index):
        at = np.arange(start, start + len(good))
        start += len(good)
        for i in at[~good.numpy()]:
            writer.manifest.parts[-1].bad[source.key(index[i])] = int(stamps[i])
        at = at[good.numpy()]
        block.append((index[at], stamps[at], model.embed(images)[good].cpu()))
        if sum(len(rows) for rows, _, _ in block) >= _BLOCK or start == len(index):
            _commit(writer, source, block)
            block = []
        if progress is not None:
            progress(len(good))
    writer.save()


def _commit(
    writer: Writer, source: Source, block: Sequence[tuple[np.ndarray, np.ndarray, Tensor]]
) -> None:
    index, stamps = (np.concatenate([part[i] for part in block]) for i in (0, 1))
    if not len(index):
        return
    labels = np.full(len(index), -1, np.int32)
    if source.labels is not None and source.classes is not None:
        number = {name: i for i, name in enumerate(writer.manifest.classes)}
        labels = np.array([number[name] for name in source.classes], np.int32)[source.labels[index]]
    keys = [source.key(i) for i in index]
    writer.append(torch.cat([vectors for _, _, vectors in block]), keys, stamps, labels)


def begin(writer: Writer, source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Open a part for the source in the manifest; indices and stamps of its images that the store does not have yet.

    Raises:
        DataError: if images that the store has are gone or have changed.
    """
    manifest, data = writer.manifest, canonical_name(source.data)
    there, bad = _there(writer, data, source.split)
    todo, changed = [], []
    for i in range(len(source)):
        key, stamp = source.key(i), _stamp(source, i)
        known = there.pop(key, None)
        if (
            known is None and (key, stamp) not in bad
        ):  # a bad image that was replaced is tried again
            todo.append((i, stamp))
        elif known is not None and known != stamp:
            changed.append(key)
    for what, keys in (("changed", changed), ("gone", list(there))):
        if keys:
            raise DataError(
                f"{source.data}: {len(keys)} images in {writer.folder} are {what} since they were embedded, "
                f"as {keys[0]}; bring them back, or choose another --out"
            )
    manifest.classes += [name for name in source.classes or [] if name not in manifest.classes]
    last = manifest.parts[-1] if manifest.parts else None
    if last is not None and (last.data, last.split) == (data, source.split):
        last.digest = source.digest
    elif todo:
        manifest.parts.append(
            Part(data=data, split=source.split, digest=source.digest, first=manifest.count)
        )
    writer.save()
    index, stamps = np.array(todo, np.int64).reshape(-1, 2).T
    return index, stamps


def _there(writer: Writer, data: str, split: str) -> tuple[dict[str, int], set[tuple[str, int]]]:
    """Of this data set: key → stamp of the images that have rows, and (key, stamp) of those that could not be read."""
    store, parts = Store(writer.folder, writer.manifest), writer.manifest.parts
    ends = [part.first for part in parts[1:]] + [len(store)]
    found: dict[str, int] = {}
    bad: set[tuple[str, int]] = set()
    for part, end in zip(parts, ends, strict=False):
        if (part.data, part.split) == (data, split):
            stamps = store.records["stamp"][part.first : end].tolist()
            found |= dict(zip(store.keys[part.first : end], stamps, strict=True))
            bad |= set(part.bad.items())
    return found, bad


def _stamp(source: Source, index: int) -> int:
    """CRC-32 of what tells an image's content from another's."""
    return zlib.crc32(source.fingerprint(index))
