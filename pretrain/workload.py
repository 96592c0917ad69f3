"""The sizes of one training step, and what a step sends: the words in which costs are counted."""

import math
from dataclasses import dataclass

ALL_REDUCE = "all-reduce"
ALL_GATHER = "all-gather"
ALL_TO_ALL = "all-to-all"


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A training step at one size.

    Attributes:
        num_rows: N, images and rows of the bank.
        num_devices: W, over which the bank and each batch are divided evenly.
        batch_size: B, of all devices together.
        embed_dim: D.
        bank_dtype: how the bank keeps its rows, as in the settings.
        device: ``cpu``, ``cuda`` or ``mps``, whose kernels need room of their own.
    """

    num_rows: int
    num_devices: int
    batch_size: int
    embed_dim: int
    bank_dtype: str
    device: str = "cpu"

    @property
    def local_batch_size(self) -> int:
        """How many images of a step one device takes."""
        return self.batch_size // self.num_devices

    @property
    def local_num_rows(self) -> int:
        """How many rows of the bank the fullest device keeps."""
        return math.ceil(self.num_rows / self.num_devices)

    @property
    def vectors_bytes(self) -> int:
        """Bytes of an fp32 vector and one more number for each image of the whole batch."""
        return self.batch_size * (self.embed_dim + 1) * 4


@dataclass(frozen=True)
class Message:
    """A collective of every step.

    Attributes:
        what: what is sent, for people.
        collective: ``all-reduce``, ``all-gather`` or ``all-to-all``.
        num_bytes: how many bytes each device puts into it.
    """

    what: str
    collective: str
    num_bytes: int

    def sent(self, num_devices: int) -> int:
        """Count the bytes that leave a device, by the ring algorithms; what is its own stays."""
        others = num_devices - 1
        if self.collective == ALL_GATHER:
            return self.num_bytes * others
        if self.collective == ALL_REDUCE:
            return self.num_bytes * others * 2 // num_devices
        return self.num_bytes * others // num_devices
