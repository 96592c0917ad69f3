"""Tests mirror the tree: ``zoo/x/y.py`` is tested in ``tests/zoo/x/test_y.py``.

For the few modules of which that is not so, a line here says why.
"""

from pathlib import Path

ROOT = Path(__file__).parents[2]

# module: where its tests are, or why there are none
ELSEWHERE: dict[str, str] = {
    "npid/printing.py": "tests/faults/test_terminal.py",
    "zoo/cards/released.py": "tests/contracts/test_model_cards.py",
    "zoo/hub/_client.py": "tests/faults/test_hub_faults.py",
    "zoo/models/backbone.py": "tests/contracts/test_backbones.py",
    "zoo/models/alexnet.py": "tests/contracts/test_backbones.py",
    "zoo/models/vgg.py": "tests/contracts/test_backbones.py",
    "downstream/tasks.py": "tests/contracts/test_tasks.py",
}


def modules():
    for package in ("zoo", "pretrain", "downstream", "npid"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if path.name not in ("__init__.py", "__main__.py"):
                yield path.relative_to(ROOT)


def mirror_of(module):
    return Path("tests") / module.parent / f"test_{module.name.lstrip('_')}"


def test_each_module_has_a_test_file_of_its_name_or_a_line_says_why_not():
    missing = []
    for module in modules():
        if not (ROOT / mirror_of(module)).is_file() and str(module) not in ELSEWHERE:
            missing.append(str(module))
    assert not missing, f"{missing}: give each a test file of its name, or a line in ELSEWHERE"


def test_the_lines_are_not_stale():
    known = {str(module) for module in modules()}
    stale = [module for module in ELSEWHERE if module not in known]
    stale += [module for module in ELSEWHERE if (ROOT / mirror_of(Path(module))).is_file()]
    assert not stale, stale


def test_the_lines_name_files_that_are_there():
    for reason in ELSEWHERE.values():
        if reason.startswith("tests/"):
            assert (ROOT / reason).is_file(), reason
