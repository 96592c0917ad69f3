import json

import zoo
from tests.npid.command_line import check_refused, npid


def test_a_folder_that_is_not_there_is_named_as_one(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    done = npid("info", "models/smal")
    assert (
        done.exit_code == 1
        and "offline mode" in done.output
        and "nor is there a folder models/smal" in done.output
    )


def test_what_a_model_is_and_scored_is_shown(saved):
    from zoo.models.model_dir import WEIGHTS, sha256

    result = {"task": "knn", "data": "made-up", "metrics": {"top1": 0.4375}}
    (saved / "metrics.json").write_text(json.dumps([result]))
    done = npid("info", saved)
    assert done.exit_code == 0, done.output
    model = zoo.load(saved)
    count = sum(parameter.numel() for parameter in model.parameters())
    for text in ("resnet10, small stem, 8-d embedding", f"{count:,}", ", ".join(model.layers)):
        assert text in done.output
    digest = sha256(saved / WEIGHTS)[:40]  # a narrow terminal folds the rest
    for text in (digest, "memory bank", "none", "knn", "made-up", "0.4375"):
        assert text in done.output


def test_a_folder_that_is_no_model_gets_one_message(tmp_path):
    check_refused(npid("info", tmp_path), "config.json: not found")
