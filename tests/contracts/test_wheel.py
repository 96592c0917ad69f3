"""The wheel installs and works outside the checkout."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", str(out), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    [path] = out.glob("npid_zoo-*.whl")
    return path


def test_the_wheel_holds_the_packages_and_nothing_else(wheel):
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {t for t in tops if not t.endswith(".dist-info")} == {"zoo", "pretrain", "downstream", "npid"}


def test_the_wheel_works_from_a_folder_of_its_own(wheel, tmp_path):
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import zoo, torch\n"
        "assert zoo.__file__.startswith(sys.argv[1]), zoo.__file__\n"
        "from typer.testing import CliRunner\n"
        "from npid.app import app\n"
        "done = CliRunner().invoke(app, ['demo', '--epochs', '1'])\n"
        "assert done.exit_code == 0, done.output\n"
        "done = CliRunner().invoke(app, ['push', 'npid-demo/model', 'org/name', '--dry-run'])\n"
        "assert done.exit_code == 0 and 'How to load it' in done.output, done.output\n"
        "zoo.load('npid-demo/model').embed(torch.zeros(1, 3, 16, 16))\n"
    )
    command = [sys.executable, "-I", "-c", code, str(target)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
