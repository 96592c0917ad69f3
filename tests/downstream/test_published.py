"""Published numbers."""

from downstream.published import published_rows


def test_published_numbers_apply_to_their_data_set_only():
    assert {row.values["top1"] for row in published_rows("knn", "/data/CIFAR-10")} > {80.8, 84.7}
    for data in ("cifar100", "cifar10/train", "tiny-imagenet", "digits"):
        assert not published_rows("knn", data)
    assert [row.values for row in published_rows("finetune", "hub:org/imagenet")] == [
        {"1%": 39.2, "10%": 77.4},
        {"1%": 54.37, "10%": 81.39},
    ]
