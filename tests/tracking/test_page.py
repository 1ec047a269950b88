import json

from physicnet.tracking.page import arrange, arrangement
from physicnet.tracking.store import Store

PAGE = "/#/experiments/1/runs?compareRunsMode=CHART&workflowType=machine_learning"
FILES = [f"images/forecast~rate+step+{step}+timestamp+1+a{end}" for step in (0, 5, 60, 10) for end in ("", "+c.webp")]


def names(*scores: str, variable: str = "rate") -> list[str]:
    return [f"test by lead/physicnet/{variable}/{score}" for score in scores]


def test_pictures_come_without_parameters_at_the_middle_step_and_scores_in_their_order() -> None:
    metrics = names("mae", "ssim", "rmse", "csi_2", "csi_0.5", variable="rate") + names("rmse", variable="a")
    view = arrangement(metrics, FILES)
    picture, *charts = view["compareRunCharts"]
    assert (picture["imageKeys"], picture["step"], picture["showRunParams"]) == (["forecast/rate"], 5, False)
    assert [chart["displayName"] for chart in charts] == [
        "a/rmse",
        "rate/rmse",
        "rate/mae",
        "rate/csi_0.5",
        "rate/csi_2",
    ]
    known = {section["uuid"] for section in view["compareRunSections"]}
    assert {chart["metricSectionId"] for chart in view["compareRunCharts"]} == known
    assert len({chart["uuid"] for chart in view["compareRunCharts"]}) == 6


def test_a_view_of_many_variables_fits_into_a_tag() -> None:
    metrics = [name for number in range(20) for name in names("rmse", "mae", variable=f"variable_{number}")]
    assert len(json.dumps(arrangement(metrics, FILES), separators=(",", ":"))) <= 5000


def test_the_page_is_arranged_for_the_latest_run_that_was_evaluated(store: Store) -> None:
    first = store.find_or_create({"physicnet.execution": "page 1"}, "evaluated", {})
    for name in names("rmse", variable="snow"):
        store.client.log_metric(first, name, 1.0, step=5)
    store.client.log_text(first, "", "images/forecast~snow+step+5+timestamp+1+a.png")
    store.find_or_create({"physicnet.execution": "page 2"}, "not evaluated", {})
    assert arrange(store) == f"{PAGE}&viewStateShareKey=physicnet"
    tags = store.client.get_experiment(store.experiment_id).tags
    picture, chart = json.loads(tags["mlflow.sharedViewState.physicnet"])["compareRunCharts"]
    assert picture["imageKeys"] == ["forecast/snow"]
    assert chart["metricKey"] == "test by lead/physicnet/snow/rmse"
    store.client.delete_run(first)


def test_without_an_evaluated_run_the_page_is_as_mlflow_makes_it(store: Store) -> None:
    assert arrange(store) == PAGE
