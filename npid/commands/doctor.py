"""npid doctor: what is installed, and what this machine can do."""

import os
import platform
import re
import sys
from importlib import metadata, util

OPTIONAL = {  # module: (what for, how to install it)
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
PACKAGES = ("zoo", "pretrain", "downstream", "npid")

Row = tuple[str, str]


def doctor() -> None:
    """Show what is installed, what this machine can do, and what is missing."""
    from npid.console import table
    from npid.printing import echo

    clashes = _clashes()
    rows = [
        ("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        *_dependency_rows(),
        *_machine_rows(),
        *_package_rows(clashes),
        *_folder_rows(),
        *_optional_rows(),
    ]
    table("npid doctor", ("", ""), rows)
    if clashes:
        echo(
            "Another distribution owns one of our packages: reinstall npid-zoo in an environment "
            "of its own."
        )
        sys.exit(1)


def _dependency_rows() -> list[Row]:
    """npid-zoo and what it requires, with their versions."""
    rows = [("npid-zoo", _version("npid-zoo"))]
    for requirement in metadata.requires("npid-zoo") or ():
        name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        if "extra ==" not in requirement:
            rows.append((name, _version(name)))
    return rows


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "missing"


def _machine_rows() -> list[Row]:
    import torch

    bf16 = []
    if torch.cpu._is_avx512_bf16_supported():
        bf16.append("AVX-512 bf16")
    if torch.cpu._is_amx_tile_supported():
        bf16.append("AMX")
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        gpus.append("mps")
    return [
        ("cpu", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads used"),
        ("cpu bf16", ", ".join(bf16) or "none: training runs in fp32"),
        ("gpu", ", ".join(gpus) or "none"),
    ]


def _owners() -> dict[str, list[str]]:
    """Map each of our import packages to the distributions that installed it."""
    distributions = metadata.packages_distributions()
    owners = {}
    for package in PACKAGES:
        owners[package] = sorted(set(distributions.get(package, ())))
    return owners


def _clashes() -> set[str]:
    """Find our packages that are missing or that another distribution owns.

    Their names exist on package indexes too, and such a distribution would overwrite ours. An
    editable install may list no owner at all.
    """
    clashes = set()
    for package, owners in _owners().items():
        if owners not in (["npid-zoo"], []) or util.find_spec(package) is None:
            clashes.add(package)
    return clashes


def _package_rows(clashes: set[str]) -> list[Row]:
    rows = []
    for package, owners in _owners().items():
        spec = util.find_spec(package)
        folder = os.path.dirname(spec.origin) if spec and spec.origin else "not found"
        text = f"{folder} ({', '.join(owners) or 'npid-zoo, in place'})"
        if package in clashes:
            text += "  ← CLASH"
        rows.append((f"package {package}", text))
    return rows


def _folder_rows() -> list[Row]:
    from zoo.data.sources.builtin import cache_folder

    home = os.environ.get("HF_HOME", os.path.join(os.path.expanduser("~"), ".cache", "huggingface"))
    return [
        ("hub endpoint", os.environ.get("HF_ENDPOINT", "https://huggingface.co")),
        ("hub cache", os.environ.get("HF_HUB_CACHE", os.path.join(home, "hub"))),
        ("data cache", str(cache_folder())),
    ]


def _optional_rows() -> list[Row]:
    rows = []
    for module, (purpose, command) in OPTIONAL.items():
        is_installed = util.find_spec(module) is not None
        rows.append((f"{module} ({purpose})", "there" if is_installed else f"missing: {command}"))
    return rows
