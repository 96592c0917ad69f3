import os
import platform
import sys
from importlib import metadata, util

PACKAGES = (
    "torch",
    "torchvision",
    "huggingface-hub",
    "safetensors",
    "numpy",
    "pillow",
    "scikit-learn",
    "jinja2",
    "typer",
    "rich",
)
OPTIONAL = {
    "detectron2": (
        "detection",
        "pip install --no-build-isolation 'git+https://github.com/facebookresearch/detectron2'",
    ),
    "pyarrow": ("parquet data", "pip install 'npid-zoo[data]'"),
    "simplejpeg": ("faster JPEGs", "pip install 'npid-zoo[data]'"),
    "faiss": ("indices", "pip install 'npid-zoo[index]'"),
    "starlette": ("npid serve", "pip install 'npid-zoo[serve]'"),
    "matplotlib": ("plots", "pip install 'npid-zoo[viz]'"),
}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"


def _owners() -> tuple[list[tuple[str, str]], bool]:
    """Who installed our import packages; the names exist on package indexes too, and would overwrite ours."""
    owners = metadata.packages_distributions()
    rows, well = [], True
    for name in ("zoo", "pretrain", "downstream", "npid"):
        own = sorted(set(owners.get(name, ())))
        spec = util.find_spec(name)
        place = os.path.dirname(spec.origin) if spec and spec.origin else "not found"
        fine = own in (["npid-zoo"], [])  # an editable install may list none
        well &= fine and spec is not None
        rows.append(
            (
                f"package {name}",
                f"{place} ({', '.join(own) or 'npid-zoo, in place'})"
                + ("" if fine else "  ← CLASH"),
            )
        )
    return rows, well


def doctor() -> None:
    """What is installed, what this machine can do, and what is missing."""
    import torch
    import typer

    from npid.console import table
    from zoo.data.sources.builtin import cache_folder

    rows = [("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")]
    rows += [(name, _version(name)) for name in ("npid-zoo", *PACKAGES)]
    rows.append(("cpu", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads used"))
    fast = {
        "AVX-512 bf16": torch.cpu._is_avx512_bf16_supported(),
        "AMX": torch.cpu._is_amx_tile_supported(),
    }
    has = ", ".join(name for name, there in fast.items() if there)
    rows.append(("cpu bf16", has or "none: training runs in fp32"))
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    rows.append(
        ("gpu", ", ".join(gpus) or ("mps" if torch.backends.mps.is_available() else "none"))
    )
    owned, well = _owners()
    rows += owned
    rows.append(("hub endpoint", os.environ.get("HF_ENDPOINT", "https://huggingface.co")))
    home = os.environ.get("HF_HOME", os.path.join(os.path.expanduser("~"), ".cache", "huggingface"))
    rows.append(("hub cache", os.environ.get("HF_HUB_CACHE", os.path.join(home, "hub"))))
    rows.append(("data cache", str(cache_folder())))
    for name, (use, command) in OPTIONAL.items():
        there = util.find_spec(name) is not None
        rows.append((f"{name} ({use})", "there" if there else f"missing: {command}"))
    table("npid doctor", ("", ""), rows)
    if not well:
        typer.echo(
            "Another distribution owns one of our packages: reinstall npid-zoo in an environment of its own."
        )
        sys.exit(1)
