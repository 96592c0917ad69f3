"""Scores by weights and part."""

from downstream.score_table import parse_scores, score_series, score_table

METRICS = {
    "pretrained/1%/top1": 0.51,
    "pretrained/1%/top1_std": 0.023,
    "pretrained/10%/top1": 0.75,
    "scratch/10%/top5": 0.9,
    "top1": 0.2,
}


def test_names_are_sorted_by_weights_and_part():
    scores = parse_scores(METRICS)
    assert scores == {
        ("pretrained", "1%"): {"top1": 0.51, "top1_std": 0.023},
        ("pretrained", "10%"): {"top1": 0.75},
        ("scratch", "10%"): {"top5": 0.9},
    }


def test_names_without_weights_or_metric_are_pretrained_top1():
    assert parse_scores({"res5": 0.4, "res5/top5": 0.8}) == {
        ("pretrained", "res5"): {"top1": 0.4, "top5": 0.8}
    }


def test_a_line_has_the_parts_that_were_scored_in_per_cent():
    scores = parse_scores(METRICS)
    line = score_series(scores, "pretrained", {"1%": 8, "10%": 80, "100%": 800})
    assert list(line.points) == [(8, 51.0), (80, 75.0)]
    assert list(line.spread) == [2.3, 0.0]
    assert not score_series(scores, "scratch", {"1%": 8, "10%": 80}).points


def test_the_table_has_every_score():
    table = score_table(parse_scores(METRICS), "labels")
    assert list(table.columns) == ["weights", "labels", "top1, %", "top5, %"]
    assert [list(row) for row in table.rows] == [
        ["pretrained", "1%", "51.00 ± 2.30", ""],
        ["pretrained", "10%", "75.00", ""],
        ["scratch", "10%", "", "90.00"],
    ]
