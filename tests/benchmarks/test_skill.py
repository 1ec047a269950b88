from io import StringIO
from pathlib import Path

import literature
import numpy as np
import pandas as pd
import pytest
import skill
import skill_data
import skill_results
import xarray as xr
import yaml
from rich.console import Console

from physicnet.config import EvaluateConfig, Params
from physicnet.data.normalize import split
from physicnet.data.synthetic import Uniform, Waves, advected_field, write_netcdf
from physicnet.evaluation.rivals import build_baselines
from physicnet.fields import DataError, Field
from physicnet.metrics import error_sums, event_sums
from physicnet.source.reaction_diffusion import SYSTEMS
from physicnet.source.simulation import write_simulation

ROOT = Path(__file__).parents[2]
CONFIG = EvaluateConfig(baselines=[], thresholds={"rain": [1.0]}, fss_scale=3, bootstrap_samples=200, seed=0)


def reflectivities(path: Path) -> Path:
    values = np.float32([[[-32.0, 7.0, 23.0], [40.0, np.nan, 0.0]]])
    coordinates = {"time": np.array(["2017-05-09"], "datetime64[ns]"), "y": [0.0, 1000.0], "x": [0.0, 1000.0, 2000.0]}
    attributes = {"units": "dBZ", "grid_mapping": "crs"}
    variables = {"reflectivity": (("time", "y", "x"), values, attributes), "crs": ((), np.int32(0), {"proj4": "here"})}
    xr.Dataset(variables, coordinates, {"institution": "FMI", "licence": "CC BY 4.0"}).to_netcdf(path)
    return path


def test_reflectivities_become_the_rates_of_the_stated_relation(tmp_path: Path) -> None:
    skill_data.write_rates(reflectivities(tmp_path / "dbz.nc"), tmp_path / "rates.nc")
    with xr.open_dataset(tmp_path / "rates.nc") as dataset:
        found = dataset["rain_rate"].values[0]
        assert dataset["rain_rate"].attrs["units"] == "mm h-1"
        assert "crs" in dataset.variables
        assert "FMI, CC BY 4.0" in dataset.attrs["source"]
    by_hand = [[0.0, 0.0, (10**2.3 / 223) ** (1 / 1.53)], [(10**4 / 223) ** (1 / 1.53), np.nan, 0.0]]
    np.testing.assert_allclose(found, by_hand, atol=0.006)  # 7 dBZ are 0.08 mm/h, below what counts as rain


def test_the_radar_set_asks_for_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(DataError, match=r"radar needs the folder with radar_fmi_20160928\.nc, .*--data FOLDER"):
        skill_data.prepare("radar", None)
    with pytest.raises(DataError, match=r"radar_fmi_20170509\.nc: no such file; --data must name"):
        skill_data.prepare("radar", tmp_path)


def moving(frames: int, height: int, width: int, *, seed: int) -> Field:
    pattern = Waves(num=12, wavelength=9.0, seed=seed)
    return advected_field(frames, height, width, flow=Uniform(1.0, 0.5), pattern=pattern, variable="rain_rate")


def small_folder(folder: Path) -> Path:
    """A working folder with the parameters of the project, but for sizes, and tiny events in all three files."""
    content = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    content["crops"] |= {"view": 16, "window": 8, "train_clips": 12}
    content["ingest"]["memory_limit"] = "64 GiB"  # of the process of all tests
    (folder / "params.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    (folder / "data" / "raw").mkdir(parents=True)
    write_netcdf(moving(92, 40, 48, seed=0), folder / "data" / "raw" / "radar_knmi.nc")
    for seed, name in enumerate(skill_data.EVENTS.values()):
        rates = moving(40, 48, 36, seed=seed).dataset
        dbz = 10 * np.log10(223 * np.maximum(rates["rain_rate"], 0.05) ** 1.53)
        rates.drop_vars("rain_rate").assign(reflectivity=dbz.assign_attrs(units="dBZ")).to_netcdf(folder / name)
    return folder


def test_the_radar_set_trains_on_two_events_and_tests_on_the_third(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(small_folder(tmp_path))
    prepared = skill_data.prepare("radar", tmp_path)
    assert len(prepared.inputs.clips) == 2 * 12
    assert prepared.inputs.step_seconds == 300
    assert [spacing.distance for spacing in prepared.inputs.grid] == [2000.0, 2000.0]
    with xr.open_dataset(tmp_path / skill_data.EVENTS["fmi_2017"]) as tested:
        assert prepared.record.times[0] == tested["time"].values[0]
        assert prepared.record.shape == (40, 1, 24, 18)
    sizes = [
        tuple(prepared.inputs.validation[index].clip.shape[-2:]) for index in (0, len(prepared.inputs.validation) - 1)
    ]
    assert sizes == [(20, 24), (24, 18)]  # both events validate, whole frames
    assert prepared.inputs.build(prepared.params.model, prepared.params.clip).window == 8


@pytest.mark.parametrize(
    ("name", "learned", "tested", "last"),
    [("knmi_to_fmi", "knmi", "fmi_2016", 40), ("fmi_to_knmi", "fmi_2016", "knmi", 66)],
)
def test_a_transfer_trains_on_one_event_and_tests_on_the_other_before_the_test_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, learned: str, tested: str, last: int
) -> None:
    monkeypatch.chdir(small_folder(tmp_path))
    prepared = skill_data.prepare(name, tmp_path)
    data = skill_data.FOLDER / "radar" / "data"
    drawn = pd.read_csv(data / learned / "transfer.csv")
    splits = split(Field.open(data / "knmi" / "fields.zarr"), prepared.params.normalize, prepared.params.clip)
    before = splits["validation"][-1][-1]
    assert before + prepared.params.normalize.gap == splits["test"][0][0]
    assert (drawn["start"] + drawn["frames"]).max() <= (before if learned == "knmi" else 40)
    np.testing.assert_array_equal(prepared.record.times, Field.open(data / tested / "fields.zarr").times)
    ends = [start + prepared.params.clip.frames for start in prepared.starts]
    assert max(ends) <= (before if tested == "knmi" else 40) == last


def test_a_set_goes_through_the_stages_of_the_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small_folder(tmp_path))
    write_simulation(tmp_path / "archive", SYSTEMS["gray-scott"](num_cells=32), 10, 36, seed=0, per_file=4)
    prepared = skill_data.prepare("gray-scott", tmp_path / "archive")
    assert prepared.params.clip.frames == 34
    assert prepared.record.shape == (360, 2, 32, 32)
    assert len(prepared.inputs.clips) == 2000
    assert len(prepared.training.segments) == 8
    assert [start // 36 for start in prepared.starts] == [9]
    assert prepared.baselines == prepared.params.evaluate.baselines
    (persistence,) = build_baselines([], prepared.training, prepared.inputs.normalizer)
    sums = skill._sums(persistence, prepared).assign(seed=0)
    assert len(sums) == 2 * 30
    assert prepared.literature is not None
    scores = literature.scores_of(prepared.literature, sums)
    assert scores[["VRMSE 1", "VRMSE 6–12", "VRMSE 13–30"]].apply(lambda row: row.is_monotonic_increasing, axis=1).all()


def test_overrides_follow_those_of_a_set_and_are_refused_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(small_folder(tmp_path))
    write_simulation(tmp_path / "archive", SYSTEMS["gray-scott"](num_cells=64), 10, 12, seed=0, per_file=10)
    prepared = skill_data.prepare("gray-scott", tmp_path / "archive", ["ingest.coarsen=2", "clip.frames_out=8"])
    assert prepared.record.shape == (120, 2, 32, 32)
    assert prepared.params.clip.frames == 12
    with pytest.raises(DataError, match=r"knmi: takes no overrides \(ingest.coarsen=2\)"):
        skill_data.prepare("knmi", None, ["ingest.coarsen=2"])


def test_a_data_set_that_is_not_known_is_refused_with_a_list() -> None:
    with pytest.raises(DataError, match=r"grey-scott: no such data set; there are radar, knmi, .*gray-scott"):
        skill_data.prepare("grey-scott", None)


def rain(values: np.ndarray) -> Field:
    times = np.datetime64("2020-01-01", "ns") + np.arange(len(values)) * np.timedelta64(5, "m")
    variable = (("time", "y", "x"), values.astype(np.float32), {"units": "mm h-1"})
    return Field(xr.Dataset({"rain_rate": variable}, coords={"time": times}))


def test_one_normalisation_is_fitted_to_the_training_frames_of_both_records() -> None:
    rng = np.random.default_rng(0)
    one, two = rng.gamma(0.5, 2.0, (6, 4, 5)), rng.gamma(0.5, 3.0, (9, 7, 3))
    one[2, 1] = np.nan
    params = Params.model_validate(yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8")))
    parts = {"one": (rain(one), [[0, 4]]), "two": (rain(two), [[1, 3], [5, 9]])}
    (channel,) = skill_data.pooled_normalizer(parts, params).channels
    seen = np.concatenate([one[:4].ravel(), two[[1, 2, 5, 6, 7, 8]].ravel()]) ** 0.8
    assert channel.mean == pytest.approx(np.nanmean(seen), rel=1e-5)
    assert channel.std == pytest.approx(np.nanstd(seen), rel=1e-5)


def sums(errors: dict[tuple[str, int], float], origins: int = 12) -> pd.DataFrame:
    """Sums of forecasts that are wrong by so much everywhere, times a noise that the models of one origin share."""
    rng = np.random.default_rng(0)
    rows = []
    for origin in range(origins):
        truth, strength = rng.random((2, 5, 6)) * 2, rng.uniform(0.5, 2)
        for (model, seed), error in errors.items():
            forecast = truth + error * strength
            counts = error_sums(forecast, truth) | {
                f"{name}_1": count for name, count in event_sums(forecast, truth, 1.0).items()
            }
            where = {"model": model, "seed": seed, "origin": origin, "time": str(origin), "variable": "rain"}
            lead = {"units": "mm h-1", "lead": [1, 2], "lead_minutes": [5.0, 10.0]}
            zero = dict.fromkeys(("similarity", "similarity_cells", "small_scale", "small_scale_truth"), 1.0)
            fractions = {"fraction_error_1": 0.0, "fraction_reference_1": 1.0}
            rows.append(pd.DataFrame(where | lead | counts | zero | fractions))
    return pd.concat(rows, ignore_index=True)


ERRORS = {("physicnet", 0): 0.1, ("physicnet", 1): 0.2, ("unet", 0): 0.4, ("persistence", 0): 0.5}


def test_errors_are_compared_as_ratios_of_means_over_seeds_and_paired_noise_cancels() -> None:
    found = skill_results.pairs(sums(ERRORS), CONFIG).set_index(["rival", "score", "lead"])
    assert found.loc[("unet", "mae", 1), "value"] == pytest.approx(0.15 / 0.4, rel=1e-5)
    assert found.loc[("unet", "rmse", 2), "value"] == pytest.approx(np.sqrt((0.01 + 0.04) / 2) / 0.4, rel=1e-5)
    for end in ("low", "high"):
        assert found.loc[("unet", "mae", 1), end] == pytest.approx(0.15 / 0.4, rel=1e-5)
    assert set(found.index.get_level_values("rival")) == {"unet", "persistence"}


def test_csi_is_compared_as_a_difference_within_an_interval_that_holds_it() -> None:
    table = sums(ERRORS)
    found = skill_results.pairs(table, CONFIG).set_index(["rival", "score", "lead"]).loc[("unet", "csi_1", 1)]
    assert found["low"] <= found["value"] <= found["high"]
    assert found["low"] < found["high"]
    assert found["value"] > 0


def test_every_seed_has_its_scores_beside_persistence() -> None:
    scores = skill_results.per_seed(sums(ERRORS), CONFIG)
    assert scores.groupby(["model", "seed"]).size().to_dict() == dict.fromkeys(ERRORS, 2)
    ours = scores[scores["model"] == "physicnet"].set_index(["seed", "lead"])
    assert ours.loc[(1, 1), "mae"] == pytest.approx(ours.loc[(0, 1), "mae"] * 2, rel=1e-5)
    assert ours.loc[(0, 1), "skill"] == pytest.approx(1 - 0.2**2, rel=1e-5)


def test_scores_of_the_literature_are_shown_as_means_over_seeds_and_variables() -> None:
    where = {"model": ["physicnet"] * 4 + ["advection"] * 2, "seed": [0, 0, 1, 1, 0, 0], "variable": ["u", "v"] * 3}
    scores = pd.DataFrame(where | {"VRMSE 1": [0.1, 0.2, 0.3, 0.4, 0.5, 0.7]})
    console = Console(width=160, record=True, file=StringIO())
    console.print(skill_results.literature_table(scores, "gray-scott"))
    text = " ".join(console.export_text().split())
    assert "gray-scott: scores of its literature" in text
    assert "PhysicNet │ 0.2500" in text
    assert "Advection │ 0.6000" in text


def test_tables_name_rivals_and_leads_and_the_figure_is_written(tmp_path: Path) -> None:
    table, console = sums(ERRORS), Console(width=160, record=True, file=StringIO())
    skill_results.show(table, skill_results.pairs(table, CONFIG), CONFIG, console)
    text = " ".join(console.export_text().split())  # a title is as wide as its table
    assert "MAE of PhysicNet as a share of the rival's" in text
    assert "U-Net" in text
    skill_results.draw(skill_results.per_seed(table, CONFIG), tmp_path / "skill.png", "title")
    assert (tmp_path / "skill.png").stat().st_size > 10_000
