import torch

from tests.zoo.interop.checkpoints import lemniscate, moco
from zoo.interop.checkpoint import read_checkpoint
from zoo.interop.conversion import Conversion


def test_the_report_says_what_was_ignored(net, tmp_path):
    torch.save(moco(net.state_dict()), tmp_path / "f")
    text = "\n".join(read_checkpoint(tmp_path / "f", arch="resnet10")[2].lines())
    assert (
        "state_dict.module.*" in text.replace("×", "*")
        and "no memory bank" in text
        and "memory bank: none" in text
    )
    torch.save(lemniscate(net.state_dict()), tmp_path / "f")
    assert "optimizer.state" in "\n".join(read_checkpoint(tmp_path / "f")[2].lines())


def test_many_names_are_grouped_and_counted():
    names = [f"optimizer.state.{i}" for i in range(300)]
    names += [f"part{i}.weight" for i in range(10)]
    report = Conversion(
        source="file.pth",
        layout="known",
        arch="resnet10",
        stem="small",
        embed_dim=8,
        used={},
        ignored=names,
        bank=(20, 8),
        notes=["look here"],
    )
    lines = report.lines()
    assert "memory bank: 20 rows of 8" in lines and "note: look here" in lines
    [ignored] = [line for line in lines if line.startswith("ignored")]
    assert ignored.startswith("ignored: 310 (optimizer.state.* ×300, part0.weight, ")
    assert ignored.endswith("and 3 more groups)")
    assert not any(line.startswith(("missing", "written")) for line in lines)
