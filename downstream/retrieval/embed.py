"""Embedding a collection of images into a store, going on where it stopped."""

import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import zoo
from downstream.features.extract import OnImages, image_batches
from downstream.features.manifest import ROW_DTYPES, Part, StoreManifest
from downstream.features.store import FeatureStore
from downstream.features.store_writer import StoreWriter, open_writer
from zoo import Backbone, DataError, SettingsError
from zoo.data.content import content_hashes
from zoo.data.sources import Source, canonical_name, open_source
from zoo.models.model_dir import WEIGHTS, sha256

_BLOCK = 16384  # rows: what a crash may cost

# what a fingerprint of a store is made of
_CONTENT = "content"
_SIZE = "size"
_32_BITS = 0xFFFFFFFF


@dataclass(frozen=True, kw_only=True)
class EmbedConfig:
    """How images are embedded into a store.

    Attributes:
        split: of the data set, ``train`` or ``test``.
        dtype: of the stored rows, ``float32`` or ``bfloat16``.
        device: where the model runs.
        workers: processes that decode images; 0 for this one.
        batch_size: images at a time.
        skip_bad: whether unreadable images are left out.
    """

    split: str = "train"
    dtype: str = "float32"
    device: str = "cpu"
    workers: int = 0
    batch_size: int = 256
    skip_bad: bool = False


@dataclass(frozen=True, kw_only=True)
class NewImages:
    """Images of a source that a store does not have yet.

    Attributes:
        indices: M, in the source.
        fingerprints: M, CRC-32 of what tells an image from a changed one.
    """

    indices: np.ndarray
    fingerprints: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)


def embed(
    model: str | Path,
    data: str,
    out: str | Path,
    config: EmbedConfig | None = None,
    on_progress: OnImages | None = None,
) -> FeatureStore:
    """Embed the images that the store does not have yet.

    Args:
        model: anything that ``zoo.load`` takes.
        data: anything that ``open_source`` takes.
        out: folder of the store; made, or appended to.
        config: split, type of the rows, device and the like; by default ``EmbedConfig()``.
        on_progress: called with the number of images at a time; first with those that were there
            already.

    Raises:
        DataError: if the store holds features of another model, images of it have changed since,
            or none can be read.
        WriteError: if it cannot be written; the blocks that were are kept.
    """
    if config is None:
        config = EmbedConfig()
    source = open_source(data, config.split, skip_bad=config.skip_bad)
    return embed_source(model, source, out, config, on_progress)


def embed_source(
    model: str | Path,
    source: Source,
    out: str | Path,
    config: EmbedConfig,
    on_progress: OnImages | None = None,
) -> FeatureStore:
    """Do what :func:`embed` does for a data set that is open already.

    Args:
        model: anything that ``zoo.load`` takes.
        source: the images; its split and its way with bad ones count, not those of the config.
        out: folder of the store; made, or appended to.
        config: type of the rows, device and the like.
        on_progress: as for :func:`embed`.

    Raises:
        DataError, WriteError: as :func:`embed`.
    """
    if config.dtype not in ROW_DTYPES:
        raise SettingsError(f"dtype must be {' or '.join(ROW_DTYPES)}, got {config.dtype!r}")
    folder = zoo.locate(model)
    backbone = zoo.load(folder)
    is_path = Path(str(model)).exists()
    new_manifest = StoreManifest(
        model=str(Path(folder).resolve()) if is_path else str(model),
        model_sha256=sha256(folder / WEIGHTS),
        input=_input_values(backbone),
        dim=backbone.embed_dim,
        dtype=config.dtype,
    )
    with open_writer(out, new_manifest) as writer:
        new_images = find_new_images(writer, source)
        num_existing = len(source) - len(new_images)
        if on_progress is not None and num_existing:
            on_progress(num_existing)
        append_images(writer, backbone, source, new_images, config, on_progress)
        if not writer.manifest.count:
            raise DataError(f"{source.data}: none of its {len(source)} images could be read")
    return FeatureStore.open(out)


def _input_values(model: Backbone) -> dict[str, Any]:
    """The preprocessing as JSON gives it back: lists in place of tuples."""
    values = asdict(model.input)
    values["mean"] = list(model.input.mean)
    values["std"] = list(model.input.std)
    return values


@torch.no_grad()
def append_images(
    writer: StoreWriter,
    model: Backbone,
    source: Source,
    images: NewImages,
    config: EmbedConfig,
    on_progress: OnImages | None = None,
) -> None:
    """Embed some images of a source and append them by blocks.

    Args:
        writer: of the store.
        model: in eval mode.
        source: the data set.
        images: which of its images (:func:`find_new_images`).
        config: device, workers and batch size.
        on_progress: called with the number of images of each batch.

    Raises:
        DataError: naming an image that cannot be read, unless the source skips bad ones.
        WriteError: if the store cannot be written; the blocks that were are kept.
    """
    model = model.to(config.device)
    batches = image_batches(
        model,
        source,
        batch_size=config.batch_size,
        device=config.device,
        workers=config.workers,
        indices=images.indices,
    )
    block = _Block(writer, source)
    start = 0
    for pixels, good in batches:
        end = start + len(good)
        is_good = good.numpy()
        indices = images.indices[start:end]
        fingerprints = images.fingerprints[start:end]
        for index, fingerprint in zip(indices[~is_good], fingerprints[~is_good], strict=True):
            writer.manifest.parts[-1].bad[source.key(index)] = int(fingerprint)
        block.add(indices[is_good], fingerprints[is_good], model.embed(pixels)[good].cpu())
        if block.num_rows >= _BLOCK or end == len(images):
            block.commit()
        if on_progress is not None:
            on_progress(len(good))
        start = end
    writer.save()


class _Block:
    """Rows that wait for being written together.

    Attributes:
        num_rows: how many wait.
    """

    def __init__(self, writer: StoreWriter, source: Source) -> None:
        self.num_rows = 0
        self._writer = writer
        self._source = source
        self._clear()

    def _clear(self) -> None:
        self.num_rows = 0
        self._indices: list[np.ndarray] = []
        self._fingerprints: list[np.ndarray] = []
        self._embeddings: list[Tensor] = []

    def add(self, indices: np.ndarray, fingerprints: np.ndarray, embeddings: Tensor) -> None:
        """Let the rows of some images wait."""
        self._indices.append(indices)
        self._fingerprints.append(fingerprints)
        self._embeddings.append(embeddings)
        self.num_rows += len(indices)

    def commit(self) -> None:
        """Write the rows that wait, if there are any."""
        if self.num_rows:
            indices = np.concatenate(self._indices)
            keys = [self._source.key(index) for index in indices]
            self._writer.append(
                torch.cat(self._embeddings),
                keys,
                np.concatenate(self._fingerprints),
                self._labels(indices),
            )
        self._clear()

    def _labels(self, indices: np.ndarray) -> np.ndarray:
        """Numbers of the images' classes in the store, −1 where the source has none."""
        source = self._source
        if source.labels is None or source.classes is None:
            return np.full(len(indices), -1, np.int32)
        number_of = {name: number for number, name in enumerate(self._writer.manifest.classes)}
        numbers = [number_of[name] for name in source.classes]
        numbers.append(-1)  # what an image without a label has, and so takes the last one
        labels: np.ndarray = np.array(numbers, np.int32)[source.labels[indices]]
        return labels


def find_new_images(writer: StoreWriter, source: Source) -> NewImages:
    """Find the images that the store does not have yet, and open a part for them in the manifest.

    Args:
        writer: of the store.
        source: the data set.

    Raises:
        DataError: if images that the store has are gone or have changed.
    """
    manifest = writer.manifest
    data = canonical_name(source.data)
    stored, bad = _stored_images(writer, data, source.split)
    contents = content_hashes(source)
    indices: list[int] = []
    fingerprints: list[int] = []
    changed: list[str] = []
    for index in range(len(source)):
        key = source.key(index)
        current = {_CONTENT: int(contents[index]) & _32_BITS, _SIZE: _size(source, index)}
        existing = stored.pop(key, None)
        if existing is None:
            # a bad image that was replaced is tried again
            if not any((key, kind, value) in bad for kind, value in current.items()):
                indices.append(index)
                fingerprints.append(current[_CONTENT])
        elif existing[1] != current[existing[0]]:
            changed.append(key)
    _refuse(source, writer.folder, "changed", changed)
    _refuse(source, writer.folder, "gone", list(stored))
    for name in source.classes or []:
        if name not in manifest.classes:
            manifest.classes.append(name)
    _open_part(manifest, data, source, has_new=bool(indices))
    writer.save()
    return NewImages(
        indices=np.array(indices, np.int64), fingerprints=np.array(fingerprints, np.int64)
    )


def _open_part(manifest: StoreManifest, data: str, source: Source, *, has_new: bool) -> None:
    """Go on with the last part where it is of this source, or add one for new images."""
    last = manifest.parts[-1] if manifest.parts else None
    current_part = (data, source.split, _CONTENT)
    if last is not None and (last.data, last.split, last.fingerprints) == current_part:
        last.digest = source.digest
    elif has_new:
        part = Part(
            data=data,
            split=source.split,
            digest=source.digest,
            first=manifest.count,
            fingerprints=_CONTENT,
        )
        manifest.parts.append(part)


def _refuse(source: Source, folder: Path, what: str, keys: list[str]) -> None:
    if keys:
        raise DataError(
            f"{source.data}: {len(keys)} images in {folder} are {what} since they were embedded, "
            f"as {keys[0]}; bring them back, or choose another --out"
        )


def _stored_images(
    writer: StoreWriter, data: str, split: str
) -> tuple[dict[str, tuple[str, int]], set[tuple[str, str, int]]]:
    """The images of one data set that the store knows.

    Returns:
        key → kind of the fingerprint and the fingerprint, of those that have rows; and (key, kind,
        fingerprint) of those that could not be read.
    """
    store = FeatureStore(writer.folder, writer.manifest)
    stored: dict[str, tuple[str, int]] = {}
    bad: set[tuple[str, str, int]] = set()
    parts = writer.manifest.parts
    for number, part in enumerate(parts):
        if (part.data, part.split) != (data, split):
            continue
        end = parts[number + 1].first if number + 1 < len(parts) else len(store)
        fingerprints = store.records["fingerprint"][part.first : end].tolist()
        kind = part.fingerprints
        for key, value in zip(store.keys[part.first : end], fingerprints, strict=True):
            stored[key] = (kind, value)
        for key, value in part.bad.items():
            bad.add((key, kind, value))
    return stored, bad


def _size(source: Source, index: int) -> int:
    """CRC-32 of the portable fingerprint: all that stores of older versions know of an image."""
    return zlib.crc32(source.fingerprint(index))
