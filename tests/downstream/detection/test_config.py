import pytest

from downstream.detection.config import PRESETS, DetectConfig
from zoo.errors import SettingsError


def test_options_come_in_pairs():
    assert DetectConfig(options=("SOLVER.MAX_ITER", "5")).faults() == []
    with pytest.raises(SettingsError) as caught:
        DetectConfig(options=("SOLVER.MAX_ITER",), pictures=-1).check()
    for message in ("KEY VALUE pairs, got 'SOLVER.MAX_ITER'", "pictures must be at least 0"):
        assert message in str(caught.value)


def test_the_run_folder_is_no_part_of_what_is_recorded():
    recorded = PRESETS["small"].recorded()
    assert "out" not in recorded and "skip_bad" not in recorded
    assert recorded["scratch"] is False and recorded["pictures"] == 8
