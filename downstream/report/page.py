"""The page: one HTML file that needs nothing beside it."""

import base64
import datetime
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

import zoo
from downstream.figures import Table
from downstream.published import Published, published_rows
from downstream.report.confusion import Confusion, result_confusion
from downstream.report.figures import DrawnFigure, draw_curves, draw_results
from downstream.report.inputs import Describe, ReportInputs, gather
from downstream.report.neighbours import TEMPERATURE
from downstream.report.provenance import all_provenance
from downstream.report.store_section import StoreSection, store_section
from downstream.tasks import TASKS
from zoo.results import Results
from zoo.utils.files import write_text

MAX_QUERIES = 10
"""Lines of a gallery of neighbours."""
MAX_POINTS = 10_000
"""Images on a map."""


@dataclass(frozen=True, kw_only=True)
class TaskSection:
    """The plots of one task's results.

    Attributes:
        anchor: of the section in the page.
        title: above the plots.
        figures: all of them, in the order of the results.
    """

    anchor: str
    title: str
    figures: list[DrawnFigure]


@dataclass(frozen=True, kw_only=True)
class PageContent:
    """Everything that the page shows, but for how it was made.

    Attributes:
        results: metrics that are in no table of a plot.
        published: what others published for the same tasks and data.
        curves: of the training runs.
        tasks: plots by task.
        confusions: confusion matrices.
        stores: feature stores.
    """

    results: Table
    published: list[Published]
    curves: list[DrawnFigure]
    tasks: list[TaskSection]
    confusions: list[Confusion]
    stores: list[StoreSection]

    def sections(self) -> list[tuple[str, str]]:
        """List the anchors and titles of the sections, in their order."""
        sections = []
        if self.results.rows:
            sections.append(("results", "Results"))
        if self.curves:
            sections.append(("curves", "Training"))
        for task in self.tasks:
            sections.append((task.anchor, task.title))
        if self.confusions:
            sections.append(("confusion", "Confusion"))
        for number, store in enumerate(self.stores):
            sections.append((f"store{number}", f"Features: {store.name}"))
        sections.append(("made", "How it was made"))
        return sections


@cache
def asset(name: str) -> str:
    """Read a file of this package's assets."""
    return (resources.files("downstream.report") / "assets" / name).read_text("utf-8")


def _is_number_like(cell: object) -> bool:
    text = str(cell)
    return text[:1].isdigit() and "%" not in text


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("downstream.report", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["number_like"] = _is_number_like
    return environment.get_template("report.html.j2")


def _metrics_table(results: Sequence[Results], inputs: ReportInputs) -> Table:
    """Every metric of some results, in per cent."""
    rows = []
    for result in results:
        model = inputs.model_name(result.model_sha256)
        for name, value in result.metrics.items():
            rows.append([model, result.task, name, f"{100 * value:.2f}", result.data])
    return Table(columns=["model", "task", "metric", "%", "data"], rows=rows)


def _published_beside(results: Sequence[Results]) -> list[Published]:
    """What others published for the tasks and data of some results, each row once."""
    beside: list[Published] = []
    for result in results:
        for row in published_rows(result.task, result.data):
            if row not in beside:
                beside.append(row)
    return beside


def _confusions(inputs: ReportInputs, sections: Sequence[StoreSection]) -> list[Confusion]:
    matrices = []
    for result in inputs.results:
        matrices.append(result_confusion(result, inputs.model_name(result.model_sha256)))
    for section in sections:
        matrices.append(section.confusion)
    return [matrix for matrix in matrices if matrix is not None]


def _page_content(inputs: ReportInputs, *, method: str, points: int) -> PageContent:
    stores = []
    for folder in inputs.stores:
        stores.append(store_section(folder, method=method, points=points, lines=MAX_QUERIES))
    without_table = []
    tasks: dict[str, TaskSection] = {}
    for result in inputs.results:
        drawn = draw_results(result, inputs.model_name(result.model_sha256))
        if not any(one.figure.table.rows for one in drawn):
            without_table.append(result)
        if not drawn:
            continue
        if result.task not in tasks:
            title = TASKS[result.task].title
            heading = title[:1].upper() + title[1:]
            tasks[result.task] = TaskSection(anchor=f"task{len(tasks)}", title=heading, figures=[])
        tasks[result.task].figures.extend(drawn)
    return PageContent(
        results=_metrics_table(without_table, inputs),
        published=_published_beside(without_table),
        curves=draw_curves(inputs.runs),
        tasks=list(tasks.values()),
        confusions=_confusions(inputs, stores),
        stores=stores,
    )


def render(
    inputs: ReportInputs,
    *,
    title: str = "npid report",
    command: str = "",
    method: str = "auto",
    points: int = MAX_POINTS,
) -> str:
    """Make the page of everything in the inputs.

    Args:
        inputs: of :func:`gather`.
        title: of the page.
        command: that made it.
        method: of the maps: one of :data:`downstream.report.projection.METHODS`.
        points: on a map at most.

    Returns:
        HTML.

    Raises:
        DataError, SettingsError: if a store or the method cannot be used.
    """
    content = _page_content(inputs, method=method, points=points)
    script = "\n" + asset("map.js")
    script_digest = hashlib.sha256(script.encode()).digest()
    return _template().render(
        page=content,
        made=all_provenance(inputs, content.stores),
        title=title,
        command=command,
        version=zoo.__version__,
        date=datetime.date.today().isoformat(),
        temperature=TEMPERATURE,
        style=Markup(asset("report.css")),
        script=Markup(script),
        script_hash=base64.b64encode(script_digest).decode(),
    )


def write(
    paths: Sequence[str | Path],
    path: str | Path,
    *,
    describe: Describe | None = None,
    title: str = "npid report",
    command: str = "",
    method: str = "auto",
    points: int = MAX_POINTS,
) -> ReportInputs:
    """Gather, render and write in one step.

    Args:
        paths: of :func:`gather`.
        path: the HTML file.
        describe: of :func:`gather`.
        title: of the page.
        command: that made it.
        method: of the maps.
        points: on a map at most.

    Returns:
        What the page was made of.

    Raises:
        DataError, ModelError, SettingsError: naming what cannot be used; an older page stays then.
    """
    inputs = gather(paths, describe)
    page = render(inputs, title=title, command=command, method=method, points=points)
    write_text(path, page)
    return inputs
