"""The command line, as a user types it."""

from tests.npid.command_line import npid


def test_the_plan_is_shown_and_nothing_is_trained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    big = npid(
        "pretrain",
        "--plan",
        "--images",
        10**9,
        "--devices",
        64,
        "--device",
        "cuda",
        "--set",
        "batch=2048",
    )
    assert big.exit_code == 0, big.output
    assert (
        "1,000,000,000 images, embed_dim 128, batch_size 2048, 64 × cuda" in big.output
        and "all-gather" in big.output
    )
    small = npid("pretrain", "digits", "--plan", "--preset", "digits")
    assert (
        small.exit_code == 0 and "1,437 images" in small.output and "all-gather" not in small.output
    )
    assert list(tmp_path.iterdir()) == []
