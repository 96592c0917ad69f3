"""The page: one HTML file that needs nothing beside it."""

import base64
import datetime
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import zoo
from downstream.report import figures
from downstream.report.features import Section, section
from downstream.report.figures import Table, percent
from downstream.report.inputs import Inputs, gather
from downstream.report.neighbours import TEMPERATURE
from downstream.report.published import Published, beside
from zoo.results import Results
from zoo.utils.files import write_text

LINES = 10  # of the gallery
POINTS = 10_000


@cache
def asset(name: str) -> str:
    """A file of this package's assets."""
    return (resources.files("downstream.report") / "assets" / name).read_text("utf-8")


@cache
def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("downstream.report", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["number_like"] = lambda cell: str(cell)[:1].isdigit() and "%" not in str(cell)
    return environment.get_template("report.html.j2")


def _flat(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Nested settings as dotted names and text."""
    if isinstance(value, dict) and value:
        return [
            pair
            for key, item in value.items()
            for pair in _flat(item, f"{name}.{key}" if name else str(key))
        ]
    return [(name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))]


_PLOTTED = ("linear", "finetune")


def _results(inputs: Inputs) -> Table:
    """The metrics of tasks that have no plot with a table of its own."""
    rows = []
    for result in inputs.results:
        if result.task not in _PLOTTED:
            model = inputs.model_name(result.model_sha256)
            rows += [
                [model, result.task, name, percent(value), result.data]
                for name, value in result.metrics.items()
            ]
    return Table(heads=["model", "task", "metric", "%", "data"], rows=rows)


def _beside(results: Sequence[Results]) -> list[Published]:
    """Published rows beside :func:`_results`."""
    asked = dict.fromkeys((r.task, r.data) for r in results if r.task not in _PLOTTED)
    found = [row for task, data in asked for row in beside(task, data)]
    return [row for i, row in enumerate(found) if row not in found[:i]]


def _entry(
    title: str, facts: dict[str, Any], settings: Any = None, command: str = ""
) -> dict[str, Any]:
    settings = _flat(settings) if settings else []
    return {
        "title": title,
        "command": command,
        "facts": _flat(facts) if facts else [],
        "settings": settings,
    }


def _made(inputs: Inputs, sections: Sequence[Section]) -> list[dict[str, Any]]:
    """What each thing was made with: a title, a command where it is known, facts, settings."""
    out = []
    for run in inputs.runs:
        facts = {key: value for key, value in run.about.items() if key != "settings"}
        out.append(_entry(f"Run {run.name}", facts, run.about.get("settings")))
    for model in inputs.models:
        ours = dict(model.config["npid"])
        settings = ours.pop("settings", None)
        facts = {
            "sha256": model.sha256,
            "arch": model.config["arch"],
            "dim": model.config["dim"],
            **ours,
        }
        out.append(_entry(f"Model {model.name}", facts, settings))
    for r in inputs.results:
        facts = {
            "model": r.model_sha256,
            "images": r.split_sizes,
            "seconds": r.seconds,
            "versions": r.versions,
        }
        title = f"{r.task} of {inputs.model_name(r.model_sha256)} on {r.data}"
        out.append(_entry(title, facts, r.settings, r.command))
    for one in sections:
        m = one.store.manifest
        rows = f"{len(one.store):,} × {m.dim}, {m.dtype}"
        data = {
            f"part {i}": f"{p.data}, {p.split}, digest {p.digest}" for i, p in enumerate(m.parts, 1)
        }
        facts = {
            "model": m.model,
            "model sha256": m.model_sha256,
            "rows": rows,
            **data,
            "input": m.input,
        }
        out.append(_entry(f"Features {one.name}", facts))
    return out


def _contents(given: dict[str, Any], sections: Sequence[Section]) -> list[tuple[str, str]]:
    names = {"results": "Results", "curves": "Training", "layers": "Layers", "labels": "Few labels"}
    out = [
        (anchor, name)
        for anchor, name in (names | {"confusions": "Confusion"}).items()
        if given[anchor]
    ]
    out = [("confusion" if anchor == "confusions" else anchor, name) for anchor, name in out]
    out += [(f"store{i}", f"Features: {one.name}") for i, one in enumerate(sections)]
    return [*out, ("made", "How it was made")]


def render(
    inputs: Inputs,
    *,
    title: str = "npid report",
    command: str = "",
    method: str = "auto",
    points: int = POINTS,
) -> str:
    """The page of everything in the inputs.

    Args:
        inputs: of :func:`gather`.
        title: of the page.
        command: that made it.
        method: of the maps: out of :data:`downstream.report.projection.METHODS`.
        points: on a map at most.

    Raises:
        DataError, SettingsError: if a store or the method cannot be used.
    """
    sections = [
        section(folder, method=method, points=points, lines=LINES) for folder in inputs.stores
    ]
    named = [(result, inputs.model_name(result.model_sha256)) for result in inputs.results]
    script = "\n" + asset("map.js")
    given: dict[str, Any] = {
        "results": _results(inputs)
        if any(r.task not in _PLOTTED for r in inputs.results)
        else None,
        "beside": _beside(inputs.results),
        "curves": figures.curves(inputs.runs),
        "layers": [
            figures.layers(result, name) for result, name in named if result.task == "linear"
        ],
        "labels": [
            figures.few_labels(result, name) for result, name in named if result.task == "finetune"
        ],
        "confusions": [
            *figures.confusions(inputs),
            *(one.confusion for one in sections if one.confusion),
        ],
    }
    return _template().render(
        **given,
        contents=_contents(given, sections),
        sections=sections,
        made=_made(inputs, sections),
        title=title,
        command=command,
        version=zoo.__version__,
        date=datetime.date.today().isoformat(),
        temperature=TEMPERATURE,
        style=Markup(asset("report.css")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def write(
    paths: Sequence[str | Path], to: str | Path, *, describe: Any = None, **how: Any
) -> Inputs:
    """Gather, render and write in one step; see :func:`gather` and :func:`render`.

    Returns:
        What was found.
    """
    inputs = gather(paths, describe)
    write_text(to, render(inputs, **how))
    return inputs
