"""The table of docs/scaling.md: what pretrain/cost.py says for a million to a billion images.

    python benchmarks/scaling.py

ResNet-50 at 224 pixels, D = 128, a bf16 bank, 32 images of a step on each device and 256 in all
at least."""

from dataclasses import replace

from npid.planning import format_amount as size
from pretrain import PRESETS
from pretrain.cost import BackboneCost, Plan, make_plan, measure_backbone
from pretrain.losses import LossConfig
from pretrain.losses.infonce import InfoNCEConfig

IMAGES = [10**6, 10**7, 10**8, 10**9]
DEVICES = [1, 8, 64, 1024]
HEAD = """\
| images | devices | batch | bank per device | loss: room | FLOP per device: backbone | exact | \
by the backbone's | sent per device: gradients | exact | 4096 shared negatives | 4096 per image |
|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"""


def row(images: int, devices: int, backbone: BackboneCost) -> str:
    """One line of the table, as Markdown."""
    how = replace(
        PRESETS["paper-imagenet"], bank_dtype="bfloat16", batch_size=max(256, 32 * devices)
    )

    def of(loss: LossConfig) -> Plan:
        settings = replace(how, loss=loss)
        return make_plan(settings, images, devices, device="cuda", backbone=backbone)

    def sent(it: Plan) -> int:
        return sum(m.sent(devices) for m in it.messages() if m.what != "gradients")

    exact, shared, own = of(how.loss), of(InfoNCEConfig(shared=True)), of(InfoNCEConfig())
    held, work = exact.memory(), exact.flops()
    gradients = sum(m.sent(devices) for m in exact.messages() if m.what == "gradients")
    cells = [
        f"{images:,}",
        f"{devices:,}",
        f"{exact.workload.batch_size:,}",
        size(held["bank"]),
        size(held["loss"]),
    ]
    cells += [
        size(work["backbone"], ""),
        size(work["loss"], ""),
        f"{work['loss'] / work['backbone']:.2f}",
    ]
    cells += [size(amount) for amount in (gradients, sent(exact), sent(shared), sent(own))]
    return f"| {' | '.join(cells)} |"


def table() -> str:
    """The whole table."""
    backbone = measure_backbone(PRESETS["paper-imagenet"])
    return "\n".join(
        [HEAD, *(row(images, devices, backbone) for images in IMAGES for devices in DEVICES)]
    )


if __name__ == "__main__":
    print(table())
