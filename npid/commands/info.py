import json

from npid.options import Model


def info(model: Model) -> None:
    """What a model is, where it comes from, and what it scored."""
    import zoo
    from npid.console import out, table
    from zoo.models.model_dir import WEIGHTS, read_config, sha256

    folder = zoo.locate(model)
    found = zoo.load(folder)
    spec, meta, stored = (
        found.input,
        dict(found.meta),
        read_config(folder)["npid"].get("precision", "float32"),
    )
    settings, data = meta.pop("settings", {}), meta.pop("data", {})
    rows: list[tuple[str, object]] = [
        ("backbone", f"{found.arch}, {found.stem} stem, {found.embed_dim}-d embedding"),
        ("weights", f"{sum(p.numel() for p in found.parameters()):,}, stored as {stored}"),
        ("input", f"{spec.size}×{spec.size}, mean {spec.mean}, std {spec.std}"),
        ("layers", ", ".join(found.layers)),
        ("timm name", found.timm_name or "none: loads in this zoo only"),
    ]
    if isinstance(data, dict) and {"name", "count", "digest"} <= set(data):
        data = f"{data['name']}, {data['count']:,} images, digest {data['digest'][:12]}…"
    if data:
        rows.append(("trained on", data if isinstance(data, str) else json.dumps(data)))
    rows += [
        (name, json.dumps(value) if isinstance(value, dict) else value)
        for name, value in meta.items()
    ]
    bank = zoo.load_bank(folder)
    rows.append(("memory bank", "none" if bank is None else f"{len(bank):,} rows"))
    rows.append(("sha256", sha256(folder / WEIGHTS)))
    table(str(model), ("", ""), rows)
    if settings:
        out.print("settings:", json.dumps(settings))
    if (folder / "metrics.json").exists():
        from zoo.results import read_results

        results = read_results(folder / "metrics.json")
        scores = [
            (r.task, r.data, name, f"{value:.4g}")
            for r in results
            for name, value in r.metrics.items()
        ]
        table("Scores", ("task", "data", "metric", "value"), scores)
