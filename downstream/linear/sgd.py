"""The published recipes: SGD on the heads of all layers, which share each frozen forward pass."""

from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from downstream.features.layers import activations, frozen
from downstream.linear.probe_context import SOLVERS, ProbeContext, ScoreFunctions
from zoo.data.augment import Augmentation, Augmenter
from zoo.data.loader import epoch_order, open_batches

Batch = tuple[dict[str, Tensor], Tensor]  # {layer: B×…} and the images' indices


class Head(nn.Module):
    """B×(C·g·g) → B×classes: perhaps a BatchNorm over the C channels, and a linear layer.

    Attributes:
        norm: BatchNorm without weights, or None.
        linear: the classifier.
    """

    def __init__(self, shape: Sequence[int], num_classes: int, norm: bool) -> None:
        """Start from small random weights, as VISSL does.

        Args:
            shape: of the layer's activations, the batch left out: the channels first.
            num_classes: outputs.
            norm: whether there is a BatchNorm.
        """
        super().__init__()
        self.channels = shape[0]
        self.norm = nn.BatchNorm1d(shape[0], affine=False) if norm else None
        self.linear = nn.Linear(torch.Size(shape).numel(), num_classes)
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor) -> Tensor:
        """B×classes scores of B×(C·g·g) features, in any shape."""
        if self.norm is not None:
            features = self.norm(features.reshape(len(features), self.channels, -1))
        scores: Tensor = self.linear(features.flatten(1))
        return scores


def _steps(context: ProbeContext, indices: Tensor, epoch: int, seed: int) -> Tensor:
    """The shuffled indices of one epoch, steps×batch."""
    batch_size = min(context.config.batch_size, len(indices))
    return indices[epoch_order(seed, epoch, len(indices), batch_size)]


def _batches_of_crops(
    context: ProbeContext, indices: Tensor, layers: Sequence[str], seed: int
) -> Iterator[Iterator[Batch]]:
    """For each epoch its batches of augmented images, as the frozen network sees them."""
    config = context.config
    spec = context.network.input
    crop = Augmentation(size=spec.size, scale=config.scale, jitter=0.0, grayscale=0.0)
    augmenter = Augmenter(crop, spec.mean, spec.std, seed)
    loader = open_batches(context.train, augmenter, torch.device(config.device), config.workers)

    def epoch_of(epoch: int) -> Iterator[Batch]:
        for images, batch in loader.augmented(epoch, _steps(context, indices, epoch, seed)):
            if len(batch) > 1:  # the others were bad and skipped; BatchNorm needs two
                with torch.no_grad():  # not around the yield: it would hold for the caller too
                    features = activations(context.network, images, layers)
                yield features, batch
            if context.on_images is not None:
                context.on_images(len(batch))

    return map(epoch_of, range(config.epochs))


def _batches_of_features(
    context: ProbeContext, indices: Tensor, layers: Sequence[str], seed: int
) -> Iterator[Iterator[Batch]]:
    """For each epoch its batches of kept features."""

    def epoch_of(epoch: int) -> Iterator[Batch]:
        for batch in _steps(context, indices, epoch, seed):
            features = {}
            for layer in layers:
                rows = context.train_features[layer][batch]
                features[layer] = rows.to(context.config.device).float()
            yield features, batch

    return map(epoch_of, range(context.config.epochs))


@SOLVERS.register("sgd")
def solve(
    context: ProbeContext, indices: Tensor, values: Mapping[str, Sequence[float]], seed: int
) -> ScoreFunctions:
    """Train the heads of all layers and learning rates at once."""
    config = context.config
    torch.manual_seed(seed)
    with frozen(context.network, config.device):
        shapes = _feature_shapes(context, list(values))
        heads: dict[tuple[str, float], Head] = {}
        groups = []
        for layer, rates in values.items():
            for rate in rates:
                head = Head(shapes[layer], context.num_classes, config.norm).to(config.device)
                heads[layer, rate] = head
                groups.append({"params": head.parameters(), "rate": rate})
        optimizer = torch.optim.SGD(
            groups,
            lr=0.0,
            momentum=config.momentum,
            nesterov=config.nesterov,
            weight_decay=config.weight_decay,
            fused=True,
        )
        labels = context.labels.to(config.device)
        lr_scale = min(config.batch_size, len(indices)) / 256
        open_epochs = _batches_of_crops if config.crops else _batches_of_features
        for epoch, batches in enumerate(open_epochs(context, indices, list(values), seed)):
            drops = sum(epoch >= milestone for milestone in config.lr_milestones)
            for group in optimizer.param_groups:
                group["lr"] = group["rate"] * lr_scale * 0.1**drops
            for features, batch in batches:
                loss = torch.zeros((), device=config.device)
                for (layer, _), head in heads.items():
                    loss = loss + F.cross_entropy(head(features[layer]), labels[batch])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
    return {name: head.eval() for name, head in heads.items()}


@torch.no_grad()
def _feature_shapes(context: ProbeContext, layers: Sequence[str]) -> dict[str, torch.Size]:
    """{layer: C×g×g or F}, the shape of one image's activations."""
    size = context.network.input.size
    image = torch.zeros(1, 3, size, size, device=context.config.device)
    features = activations(context.network, image, layers)
    return {layer: features[layer].shape[1:] for layer in layers}
