from downstream.report import gather
from downstream.report.provenance import all_provenance, flat_texts
from downstream.report.store_section import store_section
from tests.pages import results, run_folder


def test_nested_settings_become_dotted_names_and_json():
    values = {"a": {"b": {"c": 1}, "d": None}, "e": [1, "é"], "f": {}, "g": "text", "h": True}
    assert flat_texts(values) == [
        ("a.b.c", "1"),
        ("a.d", "null"),
        ("e", '[1, "é"]'),
        ("f", "{}"),
        ("g", "text"),
        ("h", "true"),
    ]


def test_runs_results_and_stores_say_how_they_were_made(tmp_path, store):
    made = results("knn", {"top1": 0.5}, settings={"k": 5}, command="npid knn m d --k 5")
    made.append(tmp_path / "metrics.json")

    def describe(run):
        return {"data": {"name": "digits"}, "settings": {"lr": 0.25}}

    run = run_folder(tmp_path / "run")
    inputs = gather([run, tmp_path / "metrics.json", store], describe)
    section = store_section(store, method="pca", points=20, lines=1)
    of_run, of_results, of_store = all_provenance(inputs, [section])
    assert of_run.title == "Run run" and ("data.name", "digits") in of_run.facts
    assert of_run.settings == [("lr", "0.25")]
    assert of_results.command == "npid knn m d --k 5" and ("k", "5") in of_results.settings
    assert of_store.title == "Features digits.store"
    assert ("model sha256", "0" * 64) in of_store.facts
    assert ("rows", "400 × 16, float32") in of_store.facts
