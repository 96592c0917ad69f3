"""One self-contained HTML page from runs, results, models and feature stores."""

from downstream.report.inputs import ModelDirectory, ReportInputs, TrainingRun, gather
from downstream.report.page import render, write

__all__ = ["ModelDirectory", "ReportInputs", "TrainingRun", "gather", "render", "write"]
