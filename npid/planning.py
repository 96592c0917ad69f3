"""``npid pretrain --plan``: what a run takes, shown before it begins."""

import math

from npid.console import out, table
from pretrain import PretrainConfig
from pretrain.cost import Plan, make_plan
from pretrain.losses.sampling import num_negatives
from pretrain.workload import Message
from zoo import SettingsError
from zoo.data.sources import open_source

_PREFIXES = ("", "k", "M", "G", "T", "P")


def count_images(data: str | None, images: int | None, skip_bad: bool) -> int:
    """Decide how many images to plan for: those asked for, or those of the data set.

    Raises:
        SettingsError: where there is neither.
    """
    if images is not None:
        return images
    if data is None:
        raise SettingsError("--plan needs DATA or --images N")
    return len(open_source(data, skip_bad=skip_bad))


def format_amount(amount: float, unit: str = "B") -> str:
    """Write a number to three digits, with a decimal prefix.

    Example:
        >>> format_amount(1_234_567)
        '1.23 MB'
    """
    power = min(int(math.log10(max(amount, 1))) // 3, len(_PREFIXES) - 1)
    return f"{amount / 1000**power:.3g} {_PREFIXES[power]}{unit}"


def show_plan(config: PretrainConfig, num_images: int, num_devices: int, device: str) -> None:
    """Print the plan of a run with these settings.

    Raises:
        SettingsError: if the settings, the device or the share of each device cannot be.
    """
    config.check()
    device_type = device.split(":")[0]
    if device_type not in ("cpu", "cuda", "mps"):
        raise SettingsError(f"--device must be cpu, cuda or mps, got {device!r}")
    plan = make_plan(config, num_images, num_devices, device=device_type)
    workload = plan.workload
    out.print(
        f"{config.backbone}, loss {config.loss.name}, {num_images:,} images, "
        f"embed_dim {workload.embed_dim}, batch_size {workload.batch_size}, "
        f"{num_devices} × {device_type}",
        soft_wrap=True,
    )
    _show_memory(plan)
    _show_arithmetic(plan)
    messages = plan.messages()
    if messages:
        _show_messages(messages, num_devices)
    negatives = num_negatives(config.loss)
    out.print(
        f"exact adds 10 % to the backbone's arithmetic at {plan.num_images_at_share(0.1):,} "
        f"images, 100 % at {plan.num_images_at_share(1.0):,}; {negatives:,} negatives drawn per "
        f"image read as many rows of the bank as exact does at "
        f"{plan.num_images_of_equal_reads(negatives):,} images.",
        soft_wrap=True,
    )


def _show_memory(plan: Plan) -> None:
    memory = plan.memory()
    whole_bank = memory.pop("host of rank 0, saving")
    memory["in all"] = sum(memory.values())
    rows = [(use, format_amount(num_bytes)) for use, num_bytes in memory.items()]
    table("Memory of each device", ("what", "size"), rows)
    if whole_bank:
        out.print(
            "While it saves, the machine of rank 0 also holds the whole bank: "
            f"{format_amount(whole_bank)}.",
            soft_wrap=True,
        )


def _show_arithmetic(plan: Plan) -> None:
    flops = plan.flops()
    rows = [(part, format_amount(amount, "FLOP")) for part, amount in flops.items()]
    table("Arithmetic of a step on each device", ("what", "amount"), rows)
    share = flops["loss"] / flops["backbone"]
    out.print(f"At equal rates the loss takes {share:.1%} of the backbone's time.", soft_wrap=True)


def _show_messages(messages: list[Message], num_devices: int) -> None:
    rows = []
    total = 0
    for message in messages:
        sent = message.sent(num_devices)
        total += sent
        rows.append((message.what, message.collective, format_amount(sent)))
    rows.append(("in all", "", format_amount(total)))
    table("What each device sends in a step", ("what", "collective", "size"), rows)
