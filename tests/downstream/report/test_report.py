"""The report: what goes in is on the page, and nothing on it can do harm or needs a network."""

import base64
import hashlib
import json
import math
import re

import numpy as np
import pytest
from pages import Html, clusters, results
from sklearn.decomposition import PCA
from typer.testing import CliRunner

from downstream.figures import Figure, Series
from downstream.published import published_rows
from downstream.report import confusion, gather, neighbours, projection, render, svg
from downstream.retrieval import Store
from npid.main import app
from zoo import DataError

LINES = [
    {"event": "knn", "step": 0, "epoch": 0, "seconds": 0.0, "top1": 0.3125},
    {"event": "epoch", "step": 7, "epoch": 1, "loss": 5.4321, "lr": 0.03, "seconds": 1.0},
    {"event": "epoch", "step": 14, "epoch": 2, "loss": 4.1234, "lr": 0.003, "seconds": 2.0},
    {"event": "knn", "step": 14, "epoch": 2, "seconds": 2.0, "top1": 0.6789},
]
EVIL = "</script><script>pwned=1</script><img src=x onerror=pwned=2>"


def run_folder(path, lines=LINES):
    path.mkdir()
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return clusters(tmp_path_factory.mktemp("store") / "digits.store", 400)


@pytest.fixture
def everything(tmp_path):
    """Run and results of each task; every number is another."""
    matrix = [[7, 1], [2, 6]]
    details = {
        "pretrained/1%": [
            {"top1": 0.8125, "per_class": {"cat": 0.875, "dog": 0.75}, "confusion": matrix}
        ]
    }
    few = {"pretrained/1%/top1": 0.51, "pretrained/1%/top1_std": 0.023, "scratch/1%/top1": 0.3456}
    probes = {
        "conv1": 0.41,
        "res5": 0.62,
        "untrained/conv1": 0.3901,
        "untrained/res5": 0.2,
        "pixels": 0.377,
    }
    for one in (
        results("knn", {"top1": 0.7654}),
        results("linear", probes),
        results("finetune", few, details=details, split_sizes={"train": 800, "test": 16, "1%": 8}),
        results("detect", {"AP": 0.1122, "AP50": 0.3344, "AP50/RBC": 0.55}, data="VOCdevkit"),
    ):
        one.append(tmp_path / "metrics.json")
    return [run_folder(tmp_path / "run"), tmp_path / "metrics.json"]


def test_every_number_of_the_input_is_on_the_page(everything, store):
    page = Html(render(gather([*everything, store]), points=100))
    numbers = [
        "5.432",
        "4.123",
        "31.25",
        "67.89",
        "76.54",
        "51.00 ± 2.30",
        "34.56",
        "11.22",
        "33.44",
        "55.00",
    ]
    numbers += ["41.00", "62.00", "39.01", "20.00", "37.70", "7", "6"]
    missing = [number for number in numbers if number not in page.text]
    assert not missing
    for text in ("80.8", "Wu et al. 2018, Table 1", "cat", "dog", "400 images", "model sha256"):
        assert text in page.text
    assert len([tag for tag, _ in page.tags if tag == "svg"]) == 4  # loss, kNN, layers, few labels


def test_the_page_needs_nothing_beside_it(everything, store):
    text = render(gather([*everything, store]), points=100)
    page = Html(text)
    for tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "action"):
            if attributes.get(name):
                assert re.match(r"data:|#", attributes[name]), (tag, attributes[name][:80])
    assert "@import" not in text and not re.search(r"url\(\s*['\"]?(?!data:)", text)
    [policy] = [a["content"] for tag, a in page.tags if tag == "meta" and a.get("http-equiv")]
    digest = base64.b64encode(hashlib.sha256(page.scripts[-1].encode()).digest()).decode()
    assert "default-src 'none'" in policy and f"script-src 'sha256-{digest}'" in policy


def test_hostile_names_stay_text(tmp_path):
    store = clusters(tmp_path / "store", 60, classes=[f"{EVIL}{i}" for i in range(10)])
    details = {
        "x": {"top1": 0.5, "per_class": {EVIL: 0.5, "b": 0.5}, "confusion": [[1, 1], [1, 1]]}
    }
    results(EVIL, {EVIL: 0.5}, data=EVIL, settings={EVIL: EVIL}, command=EVIL).append(
        tmp_path / "metrics.json"
    )
    results("linear", {EVIL: 0.5, "res5": 0.4}, details=details).append(tmp_path / "metrics.json")
    inputs = gather([store, tmp_path / "metrics.json"])
    page = Html(render(inputs, title=EVIL, command=EVIL, points=50))
    assert len(page.scripts) == 2 and not any(
        "onerror" in attributes for _, attributes in page.tags
    )
    assert json.loads(page.scripts[0])["classes"][3] == f"{EVIL}3"
    assert page.text.count(EVIL) > 10


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('{"event": "epoch", "step": 1, "epoch": 1}\nnot json\n', "line 2"),
        ('{"step": 1, "epoch": 1}\n', "lacks the key 'event'"),
        ('{"event": "epoch", "step": 1, "epoch": 1, "loss": "low"}\n', "must be numbers"),
        ('{"event": "ep', "holds no complete line yet"),
        ("", "holds no complete line yet"),
    ],
)
def test_a_broken_run_is_named_with_its_line(tmp_path, lines, message):
    (tmp_path / "metrics.jsonl").write_text(lines)
    with pytest.raises(DataError, match=re.escape(message)) as error:
        gather([tmp_path])
    assert str(tmp_path / "metrics.jsonl") in str(error.value)


def test_a_line_that_is_still_being_written_is_left_out(tmp_path):
    run = run_folder(tmp_path / "run")
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"event": "epoch", "st')
    [found] = gather([run, run]).runs  # given twice, shown once
    assert found.curve("epoch", "loss") == [(1, 5.4321), (2, 4.1234)]


@pytest.mark.parametrize("text", ["[", "{}", '[{"task": "knn"}]', '[{"task": 1, "data": "d"}]'])
def test_broken_results_are_named_and_the_old_page_stays(tmp_path, text):
    (tmp_path / "metrics.json").write_text(text if text != "{}" else '{"a": 1}')
    (tmp_path / "page.html").write_text("old")
    done = CliRunner().invoke(
        app, ["report", str(tmp_path / "metrics.json"), "--to", str(tmp_path / "page.html")]
    )
    assert (
        done.exit_code == 1
        and str(tmp_path / "metrics.json") in done.output
        and "Traceback" not in done.output
    )
    assert (tmp_path / "page.html").read_text() == "old"


def test_results_with_a_metric_that_is_no_number_are_named(tmp_path):
    results("knn", {"top1": "high"}).append(tmp_path / "metrics.json")  # type: ignore[dict-item]
    with pytest.raises(DataError, match="knn: top1 must be a number, got 'high'"):
        gather([tmp_path])


def test_wrong_paths_and_options_get_one_message(tmp_path, store):
    (tmp_path / "empty").mkdir()
    for words, message in (
        ([tmp_path / "nowhere"], "nowhere: no such file or folder"),
        ([tmp_path / "empty"], "empty: nothing to report"),
        ([store, "--map", "tsen"], "--map: expected one of"),
    ):
        done = CliRunner().invoke(
            app, ["report", *map(str, words), "--to", str(tmp_path / "page.html")]
        )
        assert (
            done.exit_code == 1 and message in done.output and not (tmp_path / "page.html").exists()
        )


def test_the_command_writes_a_page_of_a_real_run_model_and_results(tmp_path):
    run, model, page = tmp_path / "run", tmp_path / "model", tmp_path / "page.html"
    tiny = [
        "--preset",
        "digits",
        "--epochs",
        "1",
        "--set",
        "augment.size=8",
        "--set",
        "batch=256",
        "--set",
        "dim=16",
    ]
    for words in (
        ["pretrain", "digits", "--out", run, *tiny],
        ["export", run, "--to", model],
        ["knn", model, "digits", "--json", model / "metrics.json"],
        ["report", run, model, "--to", page],
    ):
        done = CliRunner().invoke(app, [str(word) for word in words])
        assert done.exit_code == 0, done.output
    assert "runs: 1, models: 1, results: 1" in done.output
    text = Html(page.read_text()).text
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    [result] = json.loads((model / "metrics.json").read_text())
    assert f"{lines[1]['loss']:.4g}" in text and f"{100 * result['metrics']['top1']:.2f}" in text
    assert "augment.size" in text and "bank_momentum" in text and result["model_sha256"] in text


def test_a_detection_run_shows_its_scores_not_its_lines(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"iteration": 19, "total_loss": 2.5}\n')
    results("detect", {"AP50": 0.25}).append(tmp_path / "metrics.json")
    found = gather([tmp_path])
    assert not found.runs and found.results[0].metrics == {"AP50": 0.25}


def test_a_store_whose_images_are_gone_shows_names(tmp_path, image_folder):
    import shutil

    import zoo
    from downstream.retrieval import EmbedSettings, embed

    zoo.save(zoo.create("resnet10", embed_dim=8, input=zoo.InputSpec(size=16)), tmp_path / "model")
    embed(tmp_path / "model", str(image_folder), tmp_path / "store", EmbedSettings())
    with_images = Html(render(gather([tmp_path / "store"])))
    shutil.rmtree(image_folder)
    without = Html(render(gather([tmp_path / "store"])))
    pictures = [sum(tag == "img" for tag, _ in page.tags) for page in (with_images, without)]
    assert pictures == [
        1 + 1 + 10 * 11,
        1,
    ]  # map without a script, tiles, gallery; then the map alone
    assert "Pictures are missing" in without.text and "cat/0.png" in without.text


def test_published_numbers_apply_to_their_data_set_only():
    assert {row.values["top1"] for row in published_rows("knn", "/data/CIFAR-10")} > {80.8, 84.7}
    for data in ("cifar100", "cifar10/train", "tiny-imagenet", "digits"):
        assert not published_rows("knn", data)
    assert [row.values for row in published_rows("finetune", "hub:org/imagenet")] == [
        {"1%": 39.2, "10%": 77.4},
        {"1%": 54.37, "10%": 81.39},
    ]


def test_votes_are_those_of_a_slow_loop(store):
    opened = Store.open(store)
    rows, labels = np.asarray(opened.rows, np.float64), np.asarray(opened.labels)
    votes = neighbours.vote(opened, max_queries=50)
    assert votes.k == 200 and len(set(votes.queries)) == 50
    for i, query in enumerate(votes.queries):
        cosines = rows @ rows[query]
        cosines[query] = -math.inf
        near = np.argsort(-cosines)[:200]
        score = [
            sum(math.exp(cosines[j] / 0.07) for j in near if labels[j] == c) for c in range(10)
        ]
        assert votes.predicted[i] == int(np.argmax(score))
        assert votes.rows[i].tolist() == near[:10].tolist()


def test_pca_is_that_of_scikit_learn():
    features = np.random.default_rng(0).normal(size=(200, 12)).astype(np.float32) * np.linspace(
        3, 0.1, 12
    )
    ours, theirs = projection.pca(features), PCA(2).fit_transform(features)
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-4)


def test_umap_is_used_where_it_is_installed():
    pytest.importorskip("umap")
    features = np.random.default_rng(0).normal(size=(300, 12)).astype(np.float32)
    flat, name = projection.flatten(features, "auto")
    assert name == "UMAP" and flat.shape == (300, 2)


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (2.31, 2.35), (-3, 1700), (5, 5), (1e-7, 3e-7), (0, 0)]
)
def test_ticks_are_round_few_and_span_the_values(low, high):
    found = svg.ticks(low, high)
    steps = np.diff(found)
    assert found[0] <= low and found[-1] >= high and 2 <= len(found) <= 8
    mantissa = steps[0] / 10 ** math.floor(math.log10(steps[0]) + 1e-9)
    assert np.allclose(steps, steps[0]) and any(
        math.isclose(mantissa, m, rel_tol=1e-6) for m in (1, 2, 5, 10)
    )


def plot(series, **more):
    return Figure(title="", x_label="x", y_label="y", series=series, **more)


def test_a_line_runs_through_its_points():
    points = [(1.0, 10.0), (10.0, 20.0), (100.0, 40.0)]
    text = svg.draw(plot([Series(name="a<b", points=points)], log_x=True))
    path = re.search(r'class="line" d="M([^"]+)"', text)[1]
    places = np.array([pair.split() for pair in path.split("L")], float)
    x, y = places[:, 0], places[:, 1]
    assert x[1] == pytest.approx((x[0] + x[2]) / 2, abs=0.1)  # a decade each
    assert (y[1] - y[2]) == pytest.approx(2 * (y[0] - y[1]), abs=0.3)
    assert "a&lt;b" in text and svg.draw(plot([Series(name="", points=[])])) == ""


def test_confusion_dense_and_sparse_agree_and_many_classes_become_pairs():
    table = np.random.default_rng(0).integers(0, 5, (12, 12))
    names = [f"c{i}" for i in range(12)]
    dense = confusion.confusion("", table.tolist(), names)
    sparse = confusion.confusion(
        "", [[i, j, int(table[i, j])] for i in range(12) for j in range(12)], names
    )
    assert dense == sparse and dense.counts == table.tolist()
    large = np.zeros((40, 40), int)
    large[3, 4], large[7, 1], large[5, 5] = 9, 11, 100
    found = confusion.confusion("", large.tolist(), [str(i) for i in range(40)])
    assert not found.counts and found.pairs == [("7", "1", 11), ("3", "4", 9)]
    assert confusion.confusion("", ["no table"], []) is None
