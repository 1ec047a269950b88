import numpy as np
import pandas as pd
import pytest

from physicnet.evaluation.reliability import uncertainty_figure

LEAD = {"variable": "rain", "units": "mm h-1"}


def tables(thresholds: list[float]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    models = ["physicnet", "persistence"]
    scores = pd.DataFrame(
        [
            {"model": model, **LEAD, "lead": lead, "lead_minutes": 5 * lead, "crps": 0.1 * lead}
            | {
                f"coverage_{interval}{end}": interval / 100 + shift + margin
                for interval in (50, 80, 90)
                for end, margin in {"": 0, "_low": -0.03, "_high": 0.02}.items()
            }
            for model, shift in zip(models, (0.0, 0.08), strict=True)
            for lead in (1, 2)
        ]
    )
    ranks = pd.DataFrame({"model": model, "rank": np.arange(1, 21), "share": 0.05} for model in models)
    ranks = ranks.explode(["rank"], ignore_index=True)
    reliability = pd.DataFrame(
        [
            {"model": model, "threshold": threshold, "bin": each, "cells": cells, "probability": each / 10 - 0.05}
            | {"frequency": 0.5 + shift}
            for model in models
            for threshold in thresholds
            for each in (1, 9)
            for cells, shift in ((1, 0.2), (3, -0.2))
        ],
        columns=["model", "threshold", "bin", "cells", "probability", "frequency"],
    )
    return scores, ranks, reliability


def test_leads_are_pooled_by_their_cells() -> None:
    figure = uncertainty_figure(*tables([0.5, 2.0]))
    coverage, histogram, diagram, error = figure.axes
    drawn = [line for line in diagram.lines if len(line.get_xdata()) == 2 and line.get_marker() == "o"]
    assert len(drawn) == 4
    for line in drawn:
        np.testing.assert_allclose(line.get_xdata(), [0.05, 0.85])
        np.testing.assert_allclose(line.get_ydata(), 0.4)  # (1 x 0.7 + 3 x 0.3) / 4
    assert [text.get_text() for text in diagram.get_legend().get_texts()] == ["0.5 mm h⁻¹", "2 mm h⁻¹"]
    assert error.get_lines()[0].get_ydata() == pytest.approx([0.1, 0.2])
    assert len([line for line in coverage.lines if len(line.get_xdata()) == 2 and line.get_linestyle() == "-"]) == 6
    np.testing.assert_allclose(histogram.patches[0].get_data().values, 1.0)


def test_without_thresholds_there_is_no_reliability() -> None:
    figure = uncertainty_figure(*tables([]))
    assert figure.axes[2].get_legend() is None
