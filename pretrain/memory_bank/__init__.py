"""The memory bank: one unit vector for each training image, on one process or shared by many."""

from pretrain.memory_bank.bank import MemoryBank, TensorBank, as_bank
from pretrain.memory_bank.local import STORAGE_DTYPES, LocalBank
from pretrain.memory_bank.sharded import ShardedBank, shard_bounds

__all__ = [
    "STORAGE_DTYPES",
    "LocalBank",
    "MemoryBank",
    "ShardedBank",
    "TensorBank",
    "as_bank",
    "shard_bounds",
]
