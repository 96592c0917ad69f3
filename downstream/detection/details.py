"""What results tell of the data set: what was left out of it, and what was assumed."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what reads annotations takes long to import, and the command line needs names
    from downstream.detection.annotations import DetectionSplit

CLIPPED = "boxes clipped to their image"
EMPTY = "boxes without area left out"
LEFT_OUT = "images left out"
NOTES = "notes"
_MAX_LISTED = 100


def data_details(*splits: "DetectionSplit") -> dict[str, Any]:
    """Count what was changed or left out.

    Returns:
        Entries for the details of results; those on images and notes only where there are any.
    """
    left_out: list[str] = []
    notes: list[str] = []
    for split in splits:
        left_out += split.left_out
        notes += split.notes
    details: dict[str, Any] = {
        CLIPPED: sum(split.clipped for split in splits),
        EMPTY: sum(split.empty_boxes for split in splits),
    }
    if left_out:
        details[LEFT_OUT] = len(left_out)
        details["why images were left out"] = left_out[:_MAX_LISTED]
    if notes:
        details[NOTES] = notes
    return details


def data_notes(details: Mapping[str, Any]) -> list[str]:
    """Word the details, a sentence each; what is 0 is not told."""
    notes = []
    for key in (EMPTY, LEFT_OUT):
        if details.get(key):
            notes.append(f"{key}: {details[key]}")
    for line in details.get("why images were left out", [])[:5]:
        notes.append(f"left out: {line}")
    notes += details.get(NOTES, [])
    return notes
