import math
import subprocess
import sys
from collections import defaultdict

import pytest
import torch
from torch.nn.functional import normalize

import zoo
from downstream import knn as task
from downstream import nearest
from downstream.features.extract import embeddings
from downstream.knn import knn
from zoo import DataError, SettingsError
from zoo.data.sources import open_source
from zoo.results import read_results


def by_hand(bank, labels, queries, k, temperature):
    answers = []
    for query in queries.tolist():
        cosines = [sum(a * b for a, b in zip(query, row, strict=True)) for row in bank.tolist()]
        votes = defaultdict(float)
        for j in sorted(range(len(cosines)), key=lambda j: -cosines[j])[:k]:
            votes[int(labels[j])] += math.exp(cosines[j] / temperature)
        answers.append(max(votes, key=votes.__getitem__))
    return answers


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (5, 0.07), (60, 1.0), (150, 0.03)])
def test_the_vote_is_the_one_written_out(k, temperature, monkeypatch):
    monkeypatch.setattr(nearest, "_QUERIES", 7)
    monkeypatch.setattr(nearest, "_ROWS", 40)
    torch.manual_seed(0)
    bank, queries, labels = (
        normalize(torch.randn(150, 8)),
        normalize(torch.randn(20, 8)),
        torch.randint(4, (150,)),
    )
    found = knn(bank, labels, queries, k=k, temperature=temperature)
    assert found.tolist() == by_hand(bank, labels, queries, k, temperature)


def test_a_k_or_temperature_out_of_range_is_refused():
    eye = torch.eye(3)
    for k in (0, 4):
        with pytest.raises(SettingsError, match=f"between 1 and the 3 images of the bank, got {k}"):
            knn(eye, torch.arange(3), eye, k=k)
    with pytest.raises(SettingsError, match="temperature"):
        knn(eye, torch.arange(3), eye, k=1, temperature=0)


PEAK = """
import resource, torch
from torch.nn.functional import normalize
from downstream.knn import knn
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
bank = torch.empty(500_000, 64, dtype=torch.bfloat16)
for rows in bank.split(10_000):
    rows.copy_(normalize(torch.randn(rows.shape)))
labels, queries = torch.randint(10, (500_000,)), normalize(torch.randn(1000, 64))
knn(bank[:20_000], labels[:20_000], queries[:10])
before = peak()
knn(bank, labels, queries)
print(peak() - before)
"""


def test_queries_by_rows_are_never_held():
    out = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    assert int(out.stdout) < 200e6 < 1000 * 500_000 * 4 / 5


@pytest.mark.parametrize("size", [16, 12])
def test_embeddings_from_memory_equal_the_models_own_preprocessing(size):
    model = zoo.create("resnet10", embed_dim=8, input=zoo.InputSpec(size=size, crop_pct=0.8)).eval()
    source = open_source("digits", "test")
    vectors, good = embeddings(model, source, batch_size=50)
    with torch.no_grad():
        x = torch.stack([model.preprocess()(source.image(i)) for i in range(60)])
        torch.testing.assert_close(vectors[:60], model.embed(x), atol=2e-3, rtol=1e-2)
    assert vectors.shape == (360, 8) and good.all()


def test_the_task_scores_a_model_and_keeps_its_results(tmp_path):
    model = zoo.create("resnet10", embed_dim=16, input=zoo.InputSpec(size=16, crop_pct=1.0)).eval()
    zoo.save(model, tmp_path / "m")
    results = task.run(tmp_path / "m", "digits", task.Settings(k=20))
    assert 0.3 < results.metrics["top1"] <= 1 and results.split_sizes == {
        "train": 1437,
        "test": 360,
    }
    results.append(tmp_path / "m" / "metrics.json")
    results.append(tmp_path / "m" / "metrics.json")
    assert read_results(tmp_path / "m" / "metrics.json") == [results, results]
    with pytest.raises(SettingsError, match="k=2000 is larger than the 1437"):
        task.run(tmp_path / "m", "digits", task.Settings(k=2000))
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(DataError, match=r"bad\.json"):
        read_results(tmp_path / "bad.json")


def test_bad_images_are_named_or_left_out_and_unlabelled_data_is_refused(
    tmp_path, image_folder, picture
):
    zoo.save(zoo.create("resnet10", embed_dim=8).eval(), tmp_path / "m")
    (image_folder / "train" / "cat" / "1.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"cat.1\.png"):
        task.run(tmp_path / "m", str(image_folder), task.Settings(k=3))
    skipping = task.Settings(k=3, skip_bad=True)
    assert task.run(tmp_path / "m", str(image_folder), skipping).split_sizes == {
        "train": 11,
        "test": 4,
    }
    picture(
        image_folder / "train" / "cat" / "wide.png", side=40
    )  # no longer of one size: read one by one
    assert task.run(tmp_path / "m", str(image_folder), skipping).split_sizes == {
        "train": 12,
        "test": 4,
    }
    with pytest.raises(DataError, match=r"cat.1\.png"):
        task.run(tmp_path / "m", str(image_folder), task.Settings(k=3))
    with pytest.raises(DataError, match="no test split"):
        task.run(tmp_path / "m", str(image_folder / "train" / "dog"), skipping)
