"""Which package may import which, no circles, and nothing heavy before it is needed."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("zoo", "pretrain", "downstream", "npid")
MAY = {"zoo": {"zoo"}, "pretrain": {"zoo", "pretrain"}, "downstream": {"zoo", "downstream"}}


def module_name(path: Path, root: Path) -> str:
    """zoo/data/__init__.py → zoo.data; zoo/errors.py → zoo.errors."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Every module of our packages and the file that it is in."""
    found = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            found[module_name(path, root)] = path
    return found


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def run_on_import(node: ast.AST) -> Iterator[ast.AST]:
    """All that runs when the module is imported: no functions, nothing that is for types alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if is_type_checking(child):
            for statement in child.orelse:
                yield statement
                yield from run_on_import(statement)
            continue
        yield child
        yield from run_on_import(child)


def targets(node: ast.AST, known: dict[str, Path]) -> set[str]:
    """What an import statement names: ``from a.b import c`` is a.b.c where that is a module."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if not isinstance(node, ast.ImportFrom):
        return set()
    assert node.level == 0, f"line {node.lineno}: relative imports are not used here"
    names = set()
    for alias in node.names:
        full = f"{node.module}.{alias.name}"
        names.add(full if full in known else str(node.module))
    return names


def import_graph(root: Path = ROOT) -> dict[str, set[str]]:
    """Module → our modules that it imports when it is imported."""
    known = modules(root)
    graph = {}
    for name, path in known.items():
        imported = set()
        for node in run_on_import(ast.parse(path.read_text())):
            imported |= targets(node, known)
        graph[name] = imported & known.keys()
    return graph


def find_circle(graph: dict[str, set[str]]) -> list[str]:
    """A circle of imports, as the modules along it with the first one again at its end."""
    done = set()
    for start in graph:
        trail = [start]
        remaining = [sorted(graph[start])]
        while trail:
            if not remaining[-1]:
                done.add(trail.pop())
                remaining.pop()
                continue
            module = remaining[-1].pop()
            if module in trail:
                return [*trail[trail.index(module) :], module]
            if module not in done:
                trail.append(module)
                remaining.append(sorted(graph[module]))
    return []


@pytest.mark.parametrize("package", MAY)
def test_a_package_imports_only_what_it_may(package):
    known = modules()
    wrong = []
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            tops = {name.split(".")[0] for name in targets(node, known)}
            for top in tops & set(PACKAGES) - MAY[package]:
                wrong.append((str(path), top))
    assert not wrong


def test_errors_and_utils_import_nothing_above_them():
    known = modules()
    wrong = []
    for name, path in known.items():
        if name != "zoo.errors" and not name.startswith("zoo.utils"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            for target in targets(node, known):
                is_below = target == "zoo.errors" or target.startswith("zoo.utils")
                if target.split(".")[0] in PACKAGES and not is_below:
                    wrong.append(f"{name} imports {target}")
    assert not wrong


def test_no_module_imports_itself_in_a_circle():
    assert " → ".join(find_circle(import_graph())) == ""


def test_a_circle_would_be_found(tmp_path):
    texts = {
        "zoo/__init__.py": "",
        "zoo/a.py": "from zoo import b\n",
        "zoo/b.py": "if True:\n    import zoo.c\n",
        "zoo/c.py": "def later():\n    from zoo import a\n",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert find_circle(import_graph(tmp_path)) == []
    types = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from zoo.a import x\n"
    (tmp_path / "zoo" / "c.py").write_text(types)
    assert find_circle(import_graph(tmp_path)) == []
    (tmp_path / "zoo" / "c.py").write_text("class Late:\n    from zoo.a import x\n")
    assert find_circle(import_graph(tmp_path)) == ["zoo.a", "zoo.b", "zoo.c", "zoo.a"]


@pytest.mark.parametrize(
    "code",
    [
        "import zoo",
        "from zoo.errors import NpidError, DataError",
        "import downstream.task",
        "import npid.main",
        "from npid.main import app; app(['--help'], standalone_mode=False)",
    ],
)
def test_torch_is_not_imported_before_it_is_needed(code):
    check = "import sys\nassert 'torch' not in sys.modules, 'torch was imported'"
    command = [sys.executable, "-c", f"{code}\n{check}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
