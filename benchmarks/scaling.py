"""The table of docs/scaling.md: what pretrain/plan.py says for a million to a billion images.

    python benchmarks/scaling.py

ResNet-50 at 224 pixels, D = 128, a bf16 bank, 32 images of a step on each device and 256 in all at least.
"""

from dataclasses import replace

from npid.planning import size
from pretrain import PRESETS
from pretrain import cost as plan
from pretrain.losses import LossConfig
from pretrain.losses.infonce import InfoNCEConfig

IMAGES = [10**6, 10**7, 10**8, 10**9]
DEVICES = [1, 8, 64, 1024]
HEAD = """\
| images | devices | batch | bank per device | objective: room | FLOP per device: backbone | exact | by the \
backbone's | sent per device: gradients | exact | 4096 shared negatives | 4096 per image |
|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"""


def row(images: int, devices: int, backbone: plan.Backbone) -> str:
    """One line of the table, as Markdown."""
    how = replace(
        PRESETS["paper-imagenet"], bank_dtype="bfloat16", batch_size=max(256, 32 * devices)
    )

    def of(loss: LossConfig) -> plan.Case:
        settings = replace(how, loss=loss)
        return plan.case(settings, images, devices, device="cuda", backbone=backbone)

    def sent(it: plan.Case) -> int:
        return sum(m.sent(devices) for m in plan.messages(it) if m.what != "gradients")

    exact, shared, own = of(how.loss), of(InfoNCEConfig(shared=True)), of(InfoNCEConfig())
    held, work = plan.memory(exact), plan.flops(exact)
    gradients = sum(m.sent(devices) for m in plan.messages(exact) if m.what == "gradients")
    cells = [
        f"{images:,}",
        f"{devices:,}",
        f"{exact.batch:,}",
        size(held["bank"]),
        size(held["objective"]),
    ]
    cells += [
        size(work["backbone"], ""),
        size(work["objective"], ""),
        f"{work['objective'] / work['backbone']:.2f}",
    ]
    cells += [size(amount) for amount in (gradients, sent(exact), sent(shared), sent(own))]
    return f"| {' | '.join(cells)} |"


def table() -> str:
    """The whole table."""
    backbone = plan.measure(PRESETS["paper-imagenet"])
    return "\n".join(
        [HEAD, *(row(images, devices, backbone) for images in IMAGES for devices in DEVICES)]
    )


if __name__ == "__main__":
    print(table())
