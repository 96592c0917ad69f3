"""Which package may import which."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAY = {"zoo": {"zoo"}, "pretrain": {"zoo", "pretrain"}, "downstream": {"zoo", "downstream"}}


@pytest.mark.parametrize("package", MAY)
def test_a_package_imports_only_what_it_may(package):
    wrong = []
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            tops = {name.split(".")[0] for name in names}
            wrong += [
                (str(path), top)
                for top in tops & {"zoo", "pretrain", "downstream", "npid"} - MAY[package]
            ]
    assert not wrong
