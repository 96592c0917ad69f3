"""One step of everything that learns."""

import math

import torch
from torch import Tensor

from pretrain.communicator import SINGLE_PROCESS, Communicator
from pretrain.config import PretrainConfig
from pretrain.train_state import Autocast, TrainState
from zoo import RunError


class NotFiniteError(RunError):
    """A loss or a gradient that is infinite or no number; nothing was changed by the step."""


def train_step(
    state: TrainState,
    images: Tensor,
    indices: Tensor,
    config: PretrainConfig,
    seed: int,
    autocast: Autocast,
    communicator: Communicator = SINGLE_PROCESS,
) -> float:
    """Take one step of everything that learns.

    The device is waited for once, to read the loss and whether the gradient is finite before
    anything changes.

    Args:
        state: What learns.
        images: B×3×S×S float32.
        indices: B int64, the images' rows in the bank.
        config: Of the run.
        seed: Of the step: with it, a step is a function of its number.
        autocast: The precision of the forward pass.
        communicator: The processes that take the step together.

    Returns:
        The mean loss over the images of all processes.

    Raises:
        NotFiniteError: If the loss or a gradient is not finite, in any process.
    """
    own_seed = seed * communicator.size + communicator.rank
    torch.default_generator.manual_seed(own_seed)  # dropout
    if images.is_cuda:
        torch.cuda.manual_seed(own_seed)
    generator = torch.Generator().manual_seed(seed)

    with autocast():
        embeddings = state.embed(images)
    loss = state.loss(embeddings, indices, state.bank, generator).mean()
    state.optimizer.zero_grad(set_to_none=True)
    with communicator.watch_peers():  # with many processes it averages the gradients
        loss.backward()

    gradients = _gradients(state.optimizer)
    not_finite = torch.zeros(1, device=embeddings.device)
    # scales by one: GradScaler's kernel takes a third of the time of a norm
    torch._amp_foreach_non_finite_check_and_unscale_(
        gradients, not_finite, torch.ones_like(not_finite)
    )
    local_values = torch.cat([loss.detach().view(1), not_finite])
    values = communicator.all_reduce_sum(local_values) / communicator.size
    mean_loss, share_not_finite = values.tolist()
    if not math.isfinite(mean_loss) or share_not_finite > 0:
        raise _not_finite_error(mean_loss, loss.item(), gradients, indices, communicator)

    state.optimizer.step()
    state.bank.update(indices, embeddings.detach(), config.bank_momentum)
    return float(mean_loss)


def _gradients(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    gradients = []
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                gradients.append(parameter.grad)
    return gradients


def _not_finite_error(
    mean_loss: float,
    local_loss: float,
    gradients: list[Tensor],
    indices: Tensor,
    communicator: Communicator,
) -> NotFiniteError:
    """Name the images; where the loss tells whose they are, those of other processes are not.

    A gradient is that of all processes.
    """
    local_images: list[int] = []
    if not math.isfinite(local_loss) or math.isfinite(mean_loss):
        local_images = indices.tolist()
    names: list[str] = []
    for images_of_rank in communicator.all_gather_object(local_images):
        names += map(str, images_of_rank)
    norm = torch.nn.utils.get_total_norm(gradients).item()
    return NotFiniteError(
        f"loss is {mean_loss}, gradient norm {norm}; the images: {', '.join(names)}"
    )
