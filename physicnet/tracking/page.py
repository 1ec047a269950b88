"""The page of MLflow where runs are compared, arranged: first the same forecast by each run, then scores by lead time.

MLflow's own arrangement writes all parameters of a run above its picture, which then has no place beside the next.
What is shown instead is kept with the experiment, as MLflow keeps a view that somebody shares. All other charts follow.
"""

import json
from collections.abc import Iterable
from statistics import median_low
from typing import Any

from physicnet.tracking.pictures import IMAGES
from physicnet.tracking.store import Store

VIEW = "physicnet"  # the key of the shared view
BY_LEAD = "test by lead/physicnet/"  # metrics <variable>/<score>
SCORES = ("rmse", "mae", "csi_")  # the beginnings of the names of those that are shown, in this order
FORECASTS = "forecast"  # MLflow asks for the name that it would give to the section of such pictures
RUNS = 10  # at most, beside each other
MOST_CHARTS = 10  # a tag of MLflow holds 5000 characters


def arrange(store: Store) -> str:
    """Arrange the page for what the latest run that was evaluated holds; return it, below the server's address."""
    page = f"/#/experiments/{store.experiment_id}/runs?compareRunsMode=CHART&workflowType=machine_learning"
    runs = store.client.search_runs([store.experiment_id], "tags.`physicnet.execution` != ''", max_results=100)
    for run in runs:
        metrics = [name for name in run.data.metrics if name.startswith(BY_LEAD)]
        if metrics:
            files = [file.path for file in store.client.list_artifacts(run.info.run_id, IMAGES)]
            view = json.dumps(arrangement(metrics, files), separators=(",", ":"))
            store.client.set_experiment_tag(store.experiment_id, f"mlflow.sharedViewState.{VIEW}", view)
            return f"{page}&viewStateShareKey={VIEW}"
    return page


def arrangement(metrics: Iterable[str], files: Iterable[str]) -> dict[str, Any]:
    """The charts and their sections, for the names of a run's metrics by lead and the paths of its pictures."""
    series: dict[str, set[int]] = {}
    for path in files:  # images/forecast~rate+step+30+...
        key, _, rest = path.removeprefix(f"{IMAGES}/").partition("+step+")
        series.setdefault(key.replace("~", "/"), set()).add(int(rest.partition("+")[0]))
    pictures = [_picture(key, median_low(steps)) for key, steps in sorted(series.items())]
    charts = [_chart(name) for name in _in_order(metrics)][:MOST_CHARTS]
    sections = [_section(FORECASTS, columns=1, is_generated=True), _section("scores by lead time, minutes", columns=2)]
    return {"compareRunCharts": pictures + charts, "compareRunSections": sections}


def _in_order(metrics: Iterable[str]) -> list[str]:
    """The metrics that are shown: variable by variable, then in the order of the scores."""

    def place(name: str) -> tuple[str, int, str]:
        variable, _, score = name.removeprefix(BY_LEAD).rpartition("/")
        return variable, next(index for index, begin in enumerate(SCORES) if score.startswith(begin)), score

    return sorted((name for name in metrics if name.rpartition("/")[2].startswith(SCORES)), key=place)


def _picture(key: str, step: int) -> dict[str, Any]:
    kept = {"uuid": key, "type": "IMAGE", "runsCountToCompare": RUNS, "metricSectionId": FORECASTS, "deleted": False}
    return kept | {"isGenerated": True, "imageKeys": [key], "step": step, "showRunParams": False}


def _chart(metric: str) -> dict[str, Any]:
    kept = {"uuid": metric, "type": "LINE", "runsCountToCompare": RUNS, "metricSectionId": "scores", "deleted": False}
    axes = {"xAxisKey": "step", "yAxisKey": "metric", "scaleType": "linear", "xAxisScaleType": "linear", "range": {}}
    shown = {"metricKey": metric, "displayName": metric.removeprefix(BY_LEAD), "lineSmoothness": 0}
    return kept | axes | shown | {"isGenerated": False, "useGlobalXaxisKey": False, "useGlobalLineSmoothing": False}


def _section(name: str, *, columns: int, is_generated: bool = False) -> dict[str, Any]:
    kept = {"uuid": name.partition(" ")[0], "name": name, "display": True, "isReordered": False, "deleted": False}
    return kept | {"isGenerated": is_generated, "columns": columns}
