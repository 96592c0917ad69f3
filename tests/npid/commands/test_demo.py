"""The command line, as a user types it."""

import json

import pytest

from tests.npid.command_line import npid

pytestmark = pytest.mark.slow


def test_the_demo_ends_with_its_table_its_verdict_and_a_picture(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # the second replaces the first
        done = npid("demo", "--steps", "1", "--seeds", "2")
        assert done.exit_code == 0, done.output
    assert (tmp_path / "npid-demo" / "demo.png").stat().st_size > 10_000
    [result] = json.loads((tmp_path / "npid-demo" / "metrics.json").read_text())
    m = result["metrics"]
    for part, images in (("1", "10"), ("5", "50"), ("10", "100")):
        [line] = [
            line
            for line in done.output.splitlines()
            if line.replace(" ", "").startswith(f"│{part}│{images}│")
        ]
        [said] = [
            line for line in done.output.splitlines() if line.startswith(f"{part} per class:")
        ]
        for init in ("pretrained", "scratch"):
            assert (
                f"{100 * m[f'{init}/{part}/top1']:.2f} ± {100 * m[f'{init}/{part}/top1_std']:.2f}"
                in line
            )
        gain = 100 * (m[f"pretrained/{part}/top1"] - m[f"scratch/{part}/top1"])
        spread = 100 * max(m[f"{init}/{part}/top1_std"] for init in ("pretrained", "scratch"))
        assert (
            f"{gain:+.1f} points, {'more' if gain > spread else 'not more'} than the seeds' "
            f"{spread:.1f}" in said
        )
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "thesis.txt").write_text("precious")
    assert (
        npid("demo", "--out", "own").exit_code == 1 and (tmp_path / "own" / "thesis.txt").exists()
    )
