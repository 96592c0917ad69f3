"""The published recipes: SGD on the heads of all layers, which share each frozen forward pass."""

from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from downstream.features.layers import activations, frozen
from downstream.linear.probe_context import SOLVERS, Classifier, Work
from zoo.data.augment import Augmentation, Augmenter
from zoo.data.loader import epoch_order, open_batches

Batch = tuple[dict[str, Tensor], Tensor]  # {layer: B×…} and the images' indices


class Head(nn.Module):
    """B×(C·g·g) → B×classes: BatchNorm over the C channels, without weights, if there is one, and a linear layer."""

    def __init__(self, shape: Sequence[int], classes: int, norm: bool) -> None:
        """
        Args:
            shape: of the layer's activations, the batch left out: the channels first.
        """
        super().__init__()
        self.channels = shape[0]
        self.norm = nn.BatchNorm1d(shape[0], affine=False) if norm else None
        self.linear = nn.Linear(torch.Size(shape).numel(), classes)
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)

    def forward(self, rows: Tensor) -> Tensor:
        if self.norm is not None:
            rows = self.norm(rows.reshape(len(rows), self.channels, -1))
        return self.linear(rows.flatten(1))


def _crops(
    work: Work, index: Tensor, layers: Sequence[str], seed: int
) -> Iterator[Iterator[Batch]]:
    """For each epoch its batches of augmented images, as the frozen network sees them."""
    how, spec, device = work.how, work.network.input, torch.device(work.how.device)
    crop = Augmentation(size=spec.size, scale=how.scale, jitter=0.0, grayscale=0.0)
    images_of = open_batches(
        work.train, Augmenter(crop, spec.mean, spec.std, seed), device, how.workers
    )

    def epoch_of(epoch: int) -> Iterator[Batch]:
        steps = index[epoch_order(seed, epoch, len(index), min(how.batch, len(index)))]
        for images, at in images_of.augmented(epoch, steps):
            if len(at) > 1:  # the others were bad and skipped; BatchNorm needs two
                with torch.no_grad():  # not around the yield: it would hold for the caller too
                    found = activations(work.network, images, layers)
                yield found, at
            if work.progress is not None:
                work.progress(len(at))

    return map(epoch_of, range(how.epochs))


def _kept(work: Work, index: Tensor, layers: Sequence[str], seed: int) -> Iterator[Iterator[Batch]]:
    """For each epoch its batches of kept features."""

    def epoch_of(epoch: int) -> Iterator[Batch]:
        for at in index[epoch_order(seed, epoch, len(index), min(work.how.batch, len(index)))]:
            yield {name: work.rows[name][at].to(work.how.device).float() for name in layers}, at

    return map(epoch_of, range(work.how.epochs))


@SOLVERS.register("sgd")
def solve(
    work: Work, index: Tensor, values: Mapping[str, Sequence[float]], seed: int
) -> dict[tuple[str, float], Classifier]:
    """All layers and learning rates at once."""
    how, device = work.how, work.how.device
    torch.manual_seed(seed)
    heads, size = {}, work.network.input.size
    with frozen(work.network, device) as network:
        with torch.no_grad():
            shapes = activations(
                network, torch.zeros(1, 3, size, size, device=device), list(values)
            )
        for layer, rates in values.items():
            for rate in rates:
                heads[layer, rate] = Head(shapes[layer].shape[1:], work.classes, how.norm).to(
                    device
                )
        groups = [{"params": head.parameters(), "rate": rate} for (_, rate), head in heads.items()]
        solver = torch.optim.SGD(
            groups,
            lr=0.0,
            momentum=how.momentum,
            nesterov=how.nesterov,
            weight_decay=how.weight_decay,
            fused=True,
        )
        labels = work.labels.to(device)
        scale = min(how.batch, len(index)) / 256
        feed = (_crops if how.crops else _kept)(work, index, list(values), seed)
        for epoch, batches in enumerate(feed):
            for group in solver.param_groups:
                group["lr"] = (
                    group["rate"] * scale * 0.1 ** sum(epoch >= drop for drop in how.drops)
                )
            for rows, at in batches:
                loss = sum(
                    F.cross_entropy(head(rows[layer]), labels[at])
                    for (layer, _), head in heads.items()
                )
                solver.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[union-attr]
                solver.step()
    return {name: head.eval() for name, head in heads.items()}
