import torch

import zoo
from tests.npid.command_line import npid


def test_convert_reports_what_became_of_the_tensors(saved, tmp_path):
    done = npid("convert", saved, "--to", tmp_path / "flat.safetensors", "--format", "torchvision")
    assert done.exit_code == 0 and "used:" in done.output and "written:" in done.output
    done = npid(
        "convert",
        tmp_path / "flat.safetensors",
        "--arch",
        "resnet10",
        "--stem",
        "small",
        "--to",
        tmp_path / "b",
    )
    assert done.exit_code == 0, done.output
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(zoo.load(tmp_path / "b")(x), zoo.load(saved)(x))
    (tmp_path / "junk.pth").write_bytes(b"junk")
    done = npid("convert", tmp_path / "junk.pth", "--to", tmp_path / "c")
    assert done.exit_code == 1 and "junk.pth" in done.output and not (tmp_path / "c").exists()
