"""The contract of a loss, its settings, and the registry that finds it by name."""

import dataclasses
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from torch import Generator, Tensor, nn

from pretrain.memory_bank import MemoryBank, as_bank
from pretrain.memory_bank.sharded import lookup_messages
from pretrain.workload import Message, Workload
from zoo import SettingsError
from zoo.utils.registry import Registry

ConfigT = TypeVar("ConfigT", bound="LossConfig")


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """What every loss can be told; a loss adds settings of its own in a subclass.

    Attributes:
        name: the name that the loss is registered by; registration sets it.
        temperature: τ of the paper's eq. 2.
        proximal: λ of the proximal term (paper, eq. 10); 0 leaves the term out.
    """

    name: ClassVar[str] = ""
    temperature: float = 0.07
    proximal: float = 0.0

    def faults(self, num_rows: int) -> list[str]:
        """Say what is wrong with the settings.

        Args:
            num_rows: N, rows of the bank.

        Returns:
            A message for each value that is out of range.
        """
        faults = []
        if not self.temperature > 0:
            faults.append(f"loss.temperature must be positive, got {self.temperature}")
        if not self.proximal >= 0:
            faults.append(f"loss.proximal must not be negative, got {self.proximal}")
        if num_rows < 2:
            faults.append(f"instance discrimination needs at least 2 images, got {num_rows}")
        return faults


@dataclass(frozen=True, kw_only=True)
class LossCost:
    """What a loss takes of each device in a step.

    Attributes:
        peak_bytes: the most that it allocates at once beside the bank, about.
        flops: of its matrix products, forward and backward.
        messages: the collectives in which every device takes part; none with a single device.
        num_parameters: how many numbers it learns.
    """

    peak_bytes: int
    flops: int
    messages: list[Message] = field(default_factory=list)
    num_parameters: int = 0


class Loss(nn.Module, ABC, Generic[ConfigT]):
    """A loss of unit vectors against the memory bank.

    Calling a loss gives ``forward``'s values plus the proximal term, where the settings ask for it.
    Buffers and parameters that a loss declares (Z, class weights) go into the checkpoint.

    Attributes:
        Config: the settings of this loss, a dataclass derived from :class:`LossConfig`.
        supports_distributed: whether several processes can share the work.
        config: the settings.
        num_rows: N, rows of the bank.
        embed_dim: D.
    """

    Config: type[ConfigT]
    supports_distributed: ClassVar[bool] = True

    def __init__(self, config: ConfigT, num_rows: int, embed_dim: int) -> None:
        """
        Args:
            config: settings in which :meth:`LossConfig.faults` has found no fault.
            num_rows: N, rows of the bank.
            embed_dim: D.
        """
        super().__init__()
        self.config = config
        self.num_rows = num_rows
        self.embed_dim = embed_dim
        if config.proximal:
            self.register_forward_hook(_add_proximal)

    @abstractmethod
    def forward(
        self,
        embeddings: Tensor,
        indices: Tensor,
        bank: MemoryBank | Tensor,
        generator: Generator,
    ) -> Tensor:
        """Compare each embedding with its own row and with others.

        Args:
            embeddings: B×D unit vectors.
            indices: B int64, each image's row in the bank.
            bank: N×D unit rows, no gradient.
            generator: of the CPU; the only source of randomness.

        Returns:
            B losses, fp32.
        """

    @classmethod
    @abstractmethod
    def cost(cls, config: ConfigT, workload: Workload) -> LossCost:
        """Count what a step takes, the proximal term left out.

        Args:
            config: the settings.
            workload: the sizes of the step.
        """


def proximal(embeddings: Tensor, own_rows: Tensor) -> Tensor:
    """The proximal term of the paper's eq. 10 before λ, ‖v_i(t) − v_i(t−1)‖².

    Args:
        embeddings: B×D.
        own_rows: B×D rows of the bank as they were, no gradient.

    Returns:
        B squared distances, fp32.
    """
    return (embeddings.float() - own_rows.float()).square().sum(1)


def _add_proximal(loss: Loss[Any], inputs: tuple[Any, ...], losses: Tensor) -> Tensor:
    """Add λ times the proximal term to what ``forward`` returned."""
    embeddings, indices, bank, _ = inputs
    own_rows = as_bank(bank).lookup(indices)
    weight: float = loss.config.proximal
    return losses + weight * proximal(embeddings, own_rows)


class LossRegistry(Registry[type[Loss[Any]]]):
    """The losses by name; one that breaks the contract is refused when it is registered."""

    def register(self, name: str) -> Callable[[type[Loss[Any]]], type[Loss[Any]]]:
        """Make a decorator that adds a loss and names its settings.

        Raises:
            ValueError: if the name is taken.
            TypeError: from the decorator, naming what the loss lacks.
        """
        add = super().register(name)

        def check_and_add(loss: type[Loss[Any]]) -> type[Loss[Any]]:
            _check_contract(name, loss)
            loss.Config.name = name
            return add(loss)

        return check_and_add


def _check_contract(name: str, loss: type[Loss[Any]]) -> None:
    """
    Raises:
        TypeError: naming what the loss lacks.
    """
    lacking = []
    config = vars(loss).get("Config")
    if not (inspect.isclass(config) and issubclass(config, LossConfig) and config.name == ""):
        lacking.append("a class attribute Config, a dataclass of its own derived from LossConfig")
    for method in sorted(getattr(loss, "__abstractmethods__", ())):
        lacking.append(f"the method {method}")
    if lacking:
        raise TypeError(f"loss {name!r}: {loss.__name__} lacks {' and '.join(lacking)}")


LOSSES = LossRegistry("loss")

DEFAULT_LOSS = "exact"

# Until 0.1 every loss had all of these settings, whether it used them or not.
_OLD_SETTINGS = (
    "temperature",
    "negatives",
    "shared",
    "exclude_positive",
    "rescale_negatives",
    "z",
    "z_batches",
    "z_momentum",
    "proximal",
)
_OLD_NAMES = {"corrected": "rescale_negatives"}


def setting_names(config: LossConfig) -> list[str]:
    """List the settings of a loss, its name first."""
    names = ["name"]
    for setting in dataclasses.fields(config):
        names.append(setting.name)
    return names


def current_name(config: LossConfig, setting: str) -> str | None:
    """Translate the name of a setting that an older version may have written.

    Returns:
        Today's name, which may be unknown; None for a setting that every loss once had and this
        one does not use.
    """
    current = _OLD_NAMES.get(setting, setting)
    if current in _OLD_SETTINGS and current not in setting_names(config):
        return None
    return current


def loss_config_to_dict(config: LossConfig) -> dict[str, Any]:
    """Turn the settings of a loss into plain values.

    Example:
        >>> from pretrain.losses import LOSSES, loss_config_to_dict
        >>> loss_config_to_dict(LOSSES["exact"].Config(temperature=0.1))
        {'name': 'exact', 'temperature': 0.1, 'proximal': 0.0}
    """
    return {"name": config.name, **dataclasses.asdict(config)}


def loss_config_from_dict(values: Mapping[str, Any]) -> LossConfig:
    """Make settings of what :func:`loss_config_to_dict` gave, in this version or an older one.

    Args:
        values: a loss's ``name`` and settings. Those that every loss once had and the named one
            does not use are dropped.

    Raises:
        SettingsError: for an unknown loss or setting.
    """
    config: LossConfig = LOSSES[values.get("name", DEFAULT_LOSS)].Config()
    changes = {}
    for key, value in values.items():
        current = current_name(config, key)
        if current is not None:
            changes[current] = value
    changes.pop("name", None)
    unknown = sorted(set(changes) - set(setting_names(config)))
    if unknown:
        raise SettingsError(f"settings of another version: {', '.join(unknown)} are unknown here")
    return dataclasses.replace(config, **changes)


def change_loss(config: LossConfig, name: str) -> LossConfig:
    """Choose another loss, and keep the settings that both have.

    Raises:
        SettingsError: for an unknown loss.
    """
    other: LossConfig = LOSSES[name].Config()
    kept = {}
    for setting in dataclasses.fields(other):
        if setting.name in setting_names(config):
            kept[setting.name] = getattr(config, setting.name)
    return dataclasses.replace(other, **kept)


def build(config: LossConfig, num_rows: int, embed_dim: int) -> Loss[Any]:
    """Make the loss of the settings.

    Args:
        config: of any registered loss.
        num_rows: N, rows of the bank.
        embed_dim: D.

    Raises:
        SettingsError: naming every value that is out of range.
    """
    faults = config.faults(num_rows)
    if faults:
        raise SettingsError("; ".join(faults))
    return LOSSES[config.name](config, num_rows, embed_dim)


def loss_cost(config: LossConfig, workload: Workload) -> LossCost:
    """Count what the loss of the settings takes in a step, with the proximal term.

    Args:
        config: of any registered loss.
        workload: the sizes of the step.

    Raises:
        SettingsError: where the loss cannot be divided over the devices.
    """
    faults = distributed_faults(config, workload.num_devices)
    if faults:
        raise SettingsError("; ".join(faults))
    cost = LOSSES[config.name].cost(config, workload)
    if not config.proximal or workload.num_devices == 1:
        return cost
    own_rows = lookup_messages(workload, "own rows of the proximal term", workload.local_batch_size)
    return dataclasses.replace(cost, messages=cost.messages + own_rows)


def distributed_faults(config: LossConfig, num_processes: int) -> list[str]:
    """Say what keeps so many processes from sharing the work of a loss."""
    if num_processes == 1 or LOSSES[config.name].supports_distributed:
        return []
    others = ", ".join(name for name in LOSSES if LOSSES[name].supports_distributed)
    return [f"loss {config.name} works in one process only; choose {others}"]
