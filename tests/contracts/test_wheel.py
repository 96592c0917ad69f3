"""The wheel installs and works outside the checkout."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import zoo

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy of the sources with one more bundled model."""
    out, sources = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("sources")
    for name in ("zoo", "pretrain", "downstream", "npid"):
        shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    folder = zoo.save(
        zoo.create("resnet10", embed_dim=4), sources / "zoo" / "released" / "one-more", half=True
    )
    (folder / "metrics.json").write_text("[]")
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", str(out), str(sources)]
    subprocess.run(build, check=True, capture_output=True)
    [path] = out.glob("npid_zoo-*.whl")
    return path


def test_the_wheel_holds_the_packages_and_nothing_else(wheel):
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {t for t in tops if not t.endswith(".dist-info")} == {
        "zoo",
        "pretrain",
        "downstream",
        "npid",
    }


def test_the_wheel_works_from_a_folder_of_its_own(wheel, tmp_path):
    target = tmp_path / "site"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--target",
        str(target),
        str(wheel),
    ]
    subprocess.run(install, check=True, capture_output=True)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import zoo, torch\n"
        "assert zoo.__file__.startswith(sys.argv[1]), zoo.__file__\n"
        "from typer.testing import CliRunner\n"
        "from npid.main import app\n"
        "for words in ('demo --steps 1 --seeds 2',\n"
        "              'pretrain digits --out run --preset digits --epochs 1',\n"
        "              'export run --to model', 'report run --to page.html'):\n"
        "    done = CliRunner().invoke(app, words.split())\n"
        "    assert done.exit_code == 0, done.output\n"
        "done = CliRunner().invoke(app, ['push', 'model', 'org/name', '--dry-run'])\n"
        "assert done.exit_code == 0 and 'How to load it' in done.output, done.output\n"
        "zoo.load('model').embed(torch.zeros(1, 3, 16, 16))\n"
        "assert 'one-more' in zoo.list_models() and zoo.load('one-more').embed_dim == 4\n"
        "from zoo import cards\n"
        "from zoo.models import bundled\n"
        "assert cards.summarize(bundled.find('one-more')).arch == 'resnet10'\n"
    )
    command = [sys.executable, "-I", "-c", code, str(target)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
