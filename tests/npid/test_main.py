"""The command line, as a user types it."""

import json
import resource
import subprocess
import sys

import pytest

from tests.npid.command_line import TINY, npid


def cpu_seconds(*words):
    """The least of three: CPU time of the process itself, as a busy machine makes any wait."""
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times), done.stdout


def test_help_costs_little_more_than_its_libraries_and_needs_no_torch():
    libraries, _ = cpu_seconds("-c", "import typer, rich.console, rich.markdown, rich.table")
    seconds, output = cpu_seconds("-m", "npid", "--help")
    assert seconds < 3 * libraries and "pretrain" in output
    code = (
        "import sys\nfrom npid.main import app\n"
        "for words in (['--help'], ['pretrain', '--help'], ['finetune', '--help']):\n"
        "    app(words, standalone_mode=False)\n"
        "heavy = {'torch', 'numpy', 'huggingface_hub'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_main_job_from_digits_to_a_scored_model(tmp_path):
    run, model = tmp_path / "run", tmp_path / "model"
    done = npid("pretrain", "digits", "--out", run, *TINY)
    assert done.exit_code == 0 and "npid export" in done.output
    events = [
        json.loads(line)["event"] for line in (run / "metrics.jsonl").read_text().splitlines()
    ]
    assert events == ["knn", "epoch", "knn"]
    assert npid("pretrain", "digits", "--out", run, *TINY, "--resume").exit_code == 0
    done = npid("pretrain", "digits", "--out", run, "--resume")
    assert done.exit_code == 0 and "resnet10 on cpu, 1 epochs" in done.output, (
        "the run's own settings"
    )
    done = npid("export", run, "--to", model, "--bank")
    assert done.exit_code == 0 and "model.safetensors" in done.output
    done = npid("knn", model, "digits", "--k", 50, "--json", model / "metrics.json")
    assert done.exit_code == 0 and "top1" in done.output
    [result] = json.loads((model / "metrics.json").read_text())
    assert result["task"] == "knn" and result["metrics"]["top1"] > 0.2
    done = npid("info", model)
    assert (
        done.exit_code == 0
        and "1,437 images" in done.output
        and f"{result['metrics']['top1']:.4g}" in done.output
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pretrain", "nowhere", "--out", "run"], "nowhere: not a folder"),
        (["pretrain", "digits", "--out", "run", "--preset", "digit"], "did you mean 'digits'"),
        (
            ["pretrain", "digits", "--out", "run", "--backbone", "resnet11"],
            "unknown backbone 'resnet11'",
        ),
        (["pretrain", "digits", "--out", "run", "--objective", "nsa"], "unknown loss"),
        (["pretrain", "digits", "--out", "run", "--set", "lr"], "--set takes KEY=VALUE"),
        (["pretrain", "digits", "--out", "run", "--set", "lr=-1"], "lr must be positive"),
        (["pretrain", "digits", "--out", "run", "--device", "tpu9"], "--device tpu9"),
        (["pretrain", "digits"], "--out RUN is missing"),
        (["pretrain", "digits", "--out", "run", "--images", "9"], "only go with --plan"),
        (["pretrain", "--plan"], "--plan needs DATA or --images"),
        (["pretrain", "--plan", "--images", "1000", "--devices", "7"], "--devices 7: 256 images"),
        (
            ["pretrain", "--plan", "--images", "9", "--device", "tpu"],
            "--device must be cpu, cuda or mps",
        ),
        (["export", "run", "--to", "model"], "checkpoint.safetensors: not found"),
        (["knn", "model", "digits"], "model: no such folder, and no model of that name"),
        (["info", "."], "config.json: not found"),
    ],
)
def test_bad_input_gets_one_message_an_exit_code_and_leaves_nothing(
    tmp_path, monkeypatch, words, message
):
    monkeypatch.chdir(tmp_path)
    done = npid(*words)
    assert done.exit_code == 1 and isinstance(done.exception, SystemExit)
    assert message in done.output and "Traceback" not in done.output
    assert (
        not (tmp_path / "model").exists()
        and not (tmp_path / "run" / "checkpoint.safetensors").exists()
    )
