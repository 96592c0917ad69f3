"""How everything on the page was made: commands, digests, settings."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from downstream.report.inputs import ModelDirectory, ReportInputs, TrainingRun
from downstream.report.store_section import StoreSection
from zoo.results import Results

NamedTexts = list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """How one thing was made.

    Attributes:
        title: what it is.
        command: that made it, or empty.
        facts: names and texts that are always shown.
        settings: names and texts that are shown on demand.
    """

    title: str
    command: str = ""
    facts: NamedTexts
    settings: NamedTexts


def flat_texts(values: Mapping[str, Any], prefix: str = "") -> NamedTexts:
    """Flatten nested settings to dotted names and texts.

    Example:
        >>> flat_texts({"lr": 0.1, "augment": {"size": 32, "kind": "crop"}})
        [('lr', '0.1'), ('augment.size', '32'), ('augment.kind', 'crop')]
    """
    texts: NamedTexts = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            texts += flat_texts(value, f"{name}.")
        elif isinstance(value, str):
            texts.append((name, value))
        else:
            texts.append((name, json.dumps(value, ensure_ascii=False)))
    return texts


def all_provenance(
    inputs: ReportInputs, store_sections: Sequence[StoreSection]
) -> list[Provenance]:
    """List how each run, model, result and feature store was made."""
    entries = [*map(_of_run, inputs.runs), *map(_of_model, inputs.models)]
    for results in inputs.results:
        entries.append(_of_results(results, inputs.model_name(results.model_sha256)))
    return [*entries, *map(_of_store, store_sections)]


def _of_run(run: TrainingRun) -> Provenance:
    facts = dict(run.description)
    settings = facts.pop("settings", {})
    return Provenance(
        title=f"Run {run.name}", facts=flat_texts(facts), settings=flat_texts(settings)
    )


def _of_model(model: ModelDirectory) -> Provenance:
    ours = dict(model.config["npid"])
    settings = ours.pop("settings", None) or {}
    facts = {
        "sha256": model.sha256,
        "arch": model.config["arch"],
        "dim": model.config["embed_dim"],
        **ours,
    }
    return Provenance(
        title=f"Model {model.name}", facts=flat_texts(facts), settings=flat_texts(settings)
    )


def _of_results(results: Results, model_name: str) -> Provenance:
    facts = {
        "model": results.model_sha256,
        "images": results.split_sizes,
        "seconds": results.seconds,
        "versions": results.versions,
    }
    return Provenance(
        title=f"{results.task} of {model_name} on {results.data}",
        command=results.command,
        facts=flat_texts(facts),
        settings=flat_texts(results.settings),
    )


def _of_store(section: StoreSection) -> Provenance:
    manifest = section.store.manifest
    facts = {
        "model": manifest.model,
        "model sha256": manifest.model_sha256,
        "rows": f"{len(section.store):,} × {manifest.dim}, {manifest.dtype}",
    }
    for number, part in enumerate(manifest.parts, 1):
        facts[f"part {number}"] = f"{part.data}, {part.split}, digest {part.digest}"
    texts = flat_texts({**facts, "input": manifest.input})
    return Provenance(title=f"Features {section.name}", facts=texts, settings=[])
