"""One self-contained HTML page from runs, results, models and feature stores."""

from downstream.report.inputs import Inputs, Model, Run, gather
from downstream.report.page import render, write

__all__ = ["Inputs", "Model", "Run", "gather", "render", "write"]
