"""A triplet loss with a hard negative out of the whole bank (Schroff et al. 2015, FaceNet)."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn.functional import softplus

from pretrain.attention import product
from pretrain.communicator import Communicator
from pretrain.losses.base import LOSSES, Loss, LossConfig, LossCost
from pretrain.memory_bank import MemoryBank, as_bank
from pretrain.memory_bank.local import chunk_bytes, row_dtype
from pretrain.memory_bank.sharded import lookup_messages
from pretrain.workload import ALL_GATHER, ALL_REDUCE, Message, Workload

_NO_ROW = torch.iinfo(torch.int64).max
_CHUNK = 2048  # rows of the bank per step: the B×_CHUNK scores stay in cache


class _Search:
    """The most similar row that each query has met so far, the first of equal ones."""

    def __init__(self, queries: Tensor) -> None:
        self.scores = queries.new_full((len(queries),), -torch.inf)
        self.rows = torch.full_like(self.scores, _NO_ROW, dtype=torch.int64)

    def add(self, scores: Tensor, first: int) -> None:
        """Meet more rows.

        Args:
            scores: B×c.
            first: the first of the c rows.
        """
        chunk_scores, chunk_rows = scores.max(1)
        is_better = chunk_scores > self.scores
        self.rows = torch.where(is_better, chunk_rows + first, self.rows)
        self.scores = torch.maximum(self.scores, chunk_scores)

    def merge(self, communicator: Communicator) -> Tensor:
        """Return the best rows of all processes for this one's queries, or ``_NO_ROW``."""
        scores = self.scores.float()
        is_best = scores == communicator.all_reduce_max(scores)
        smallest = -communicator.all_reduce_max(-torch.where(is_best, self.rows, _NO_ROW))
        return communicator.local_part(smallest)


@torch.no_grad()
def mine_negatives(
    embeddings: Tensor, indices: Tensor, bank: MemoryBank | Tensor, *, semi_hard: bool = True
) -> Tensor:
    """Find for each image the most similar row of another image, some rows at a time.

    Args:
        embeddings: B×D unit vectors.
        indices: B int64, each image's own row.
        bank: N×D unit rows; each process searches those that it keeps, for all processes' images.
        semi_hard: whether rows that are more similar than the image's own are passed over, unless
            all are. Without it training is pulled towards a single point.

    Returns:
        B int64 rows.
    """
    bank = as_bank(bank)
    communicator = bank.communicator
    own_scores = (embeddings.float() * bank.lookup(indices).float()).sum(1, keepdim=True)
    queries = communicator.all_gather(embeddings.to(bank.dtype))
    all_indices = communicator.all_gather(indices)
    limits = communicator.all_gather(own_scores)
    hardest = _Search(queries)
    below_limit = _Search(queries)
    first, _ = bank.local_range
    for rows in bank.iter_chunks(_CHUNK):
        scores = product(queries, rows.T)
        position = all_indices - first
        is_here = (position >= 0) & (position < len(rows))
        scores[is_here, position[is_here]] = -torch.inf
        hardest.add(scores, first)
        if semi_hard:
            below_limit.add(scores.masked_fill_(scores >= limits, -torch.inf), first)
        first += len(rows)
    negatives = hardest.merge(communicator)
    if not semi_hard:
        return negatives
    semi_hard_negatives = below_limit.merge(communicator)
    return torch.where(semi_hard_negatives < _NO_ROW, semi_hard_negatives, negatives)


def triplet(
    embeddings: Tensor,
    indices: Tensor,
    negatives: Tensor,
    bank: MemoryBank | Tensor,
    temperature: float = 0.07,
    margin: float = 0.2,
) -> Tensor:
    """Compute softplus((margin + d(v, own row) − d(v, negative))/τ) of cosine distances d.

    As τ falls this becomes the hinge; with no margin it is the softmax over two rows.

    Args:
        embeddings: B×D unit vectors.
        indices: B int64 rows of the positives.
        negatives: B int64 rows.
        bank: N×D unit rows, no gradient.
        temperature: τ, how soft the hinge is.
        margin: by how much the own row should be nearer.

    Returns:
        B losses, fp32.
    """
    bank = as_bank(bank)
    difference = bank.lookup(negatives).float() - bank.lookup(indices).float()
    violation = margin + (embeddings.float() * difference).sum(1)
    return softplus(violation / temperature)


@dataclass(frozen=True, kw_only=True)
class TripletConfig(LossConfig):
    """Settings of the triplet loss.

    Attributes:
        margin: by how much an image's own row should be nearer than another, in cosine distance.
        semi_hard: whether the negative is the nearest of those beyond the own row (FaceNet), or the
            nearest of all.
    """

    margin: float = 0.2
    semi_hard: bool = True

    def faults(self, num_rows: int) -> list[str]:
        """Say what is wrong with the settings; see :meth:`LossConfig.faults`."""
        faults = super().faults(num_rows)
        if not self.margin >= 0:
            faults.append(f"loss.margin must not be negative, got {self.margin}")
        return faults


@LOSSES.register("triplet")
class Triplet(Loss[TripletConfig]):
    """The soft hinge of an image's own row against a hard one of all others."""

    Config = TripletConfig

    def forward(
        self,
        embeddings: Tensor,
        indices: Tensor,
        bank: MemoryBank | Tensor,
        generator: Generator,
    ) -> Tensor:
        """Return B losses; see :meth:`Loss.forward`."""
        config = self.config
        negatives = mine_negatives(embeddings, indices, bank, semi_hard=config.semi_hard)
        return triplet(embeddings, indices, negatives, bank, config.temperature, config.margin)

    @classmethod
    def cost(cls, config: TripletConfig, workload: Workload) -> LossCost:
        """Count what a step takes; see :meth:`Loss.cost`."""
        itemsize = row_dtype(workload.bank_dtype).itemsize
        local = workload.local_batch_size
        chunk = min(_CHUNK, workload.local_num_rows)
        scores_bytes = workload.batch_size * chunk * itemsize
        spelt_out_bytes = chunk_bytes(chunk, workload.embed_dim, workload.bank_dtype)
        messages = []
        if workload.num_devices > 1:
            num_searches = 2 if config.semi_hard else 1
            messages = [
                Message("queries", ALL_GATHER, local * workload.embed_dim * itemsize),
                Message("their indices and scores", ALL_GATHER, local * (8 + 4)),
                Message("largest scores", ALL_REDUCE, num_searches * workload.batch_size * 4),
                Message("hardest rows", ALL_REDUCE, num_searches * workload.batch_size * 8),
                *lookup_messages(workload, "own rows and negatives", 3 * local, 3),
            ]
        return LossCost(
            peak_bytes=scores_bytes + spelt_out_bytes + 4 * workload.vectors_bytes,
            flops=2 * workload.embed_dim * workload.batch_size * workload.local_num_rows,
            messages=messages,
        )
