"""``npid pretrain --plan``: what a run takes, shown before it begins."""

import math

from npid.console import out, table
from pretrain import PretrainConfig
from pretrain import cost as plan
from zoo import SettingsError
from zoo.data.sources import open_source


def count_images(data: str | None, images: int | None, skip_bad: bool) -> int:
    """How many images to plan for: those asked for, or those of the data set.

    Raises:
        SettingsError: where there is neither.
    """
    if images is not None:
        return images
    if data is None:
        raise SettingsError("--plan needs DATA or --images N")
    return len(open_source(data, skip_bad=skip_bad))


def size(amount: float, unit: str = "B") -> str:
    """A number to three digits, with a decimal prefix."""
    step = min(int(math.log10(max(amount, 1))) // 3, 5)
    return f"{amount / 1000**step:.3g} {('', 'k', 'M', 'G', 'T', 'P')[step]}{unit}"


def show_plan(how: PretrainConfig, images: int, devices: int, device: str) -> None:
    """Print the plan of a run with these settings.

    Raises:
        SettingsError: if the settings, the device or the share of each device cannot be.
    """
    how.check()
    kind = device.split(":")[0]
    if kind not in ("cpu", "cuda", "mps"):
        raise SettingsError(f"--device must be cpu, cuda or mps, got {device!r}")
    it = plan.case(how, images, devices, device=kind)
    held, work, sent = plan.memory(it), plan.flops(it), plan.messages(it)
    host = held.pop("host of rank 0, saving")
    title = f"{how.backbone}, objective {how.loss.name}, {images:,} images, dim {it.dim}, batch {it.batch}, "
    out.print(f"{title}{devices} × {it.device}", soft_wrap=True)
    rows = [*held.items(), ("in all", sum(held.values()))]
    table(
        "Memory of each device", ("what", "size"), [(what, size(amount)) for what, amount in rows]
    )
    if host:
        out.print(
            f"While it saves, the machine of rank 0 also holds the whole bank: {size(host)}.",
            soft_wrap=True,
        )
    share = work["objective"] / work["backbone"]
    rows_of_work = [(what, size(amount, "FLOP")) for what, amount in work.items()]
    table("Arithmetic of a step on each device", ("what", "amount"), rows_of_work)
    out.print(
        f"At equal rates the objective takes {share:.1%} of the backbone's time.", soft_wrap=True
    )
    if sent:
        wire = [(m.what, m.how, size(m.sent(devices))) for m in sent]
        wire.append(("in all", "", size(sum(m.sent(devices) for m in sent))))
        table("What each device sends in a step", ("what", "collective", "size"), wire)
    out.print(
        f"exact adds 10 % to the backbone's arithmetic at {plan.affordable(it, 0.1):,} images, 100 % at "
        f"{plan.affordable(it, 1.0):,}; {plan.negatives(it.loss):,} negatives drawn per image read as many rows of the "
        f"bank as exact does at {plan.meeting(it):,} images.",
        soft_wrap=True,
    )
