import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import grimp
import numpy as np
import psutil
import pytest
import torch
import xarray as xr
import yaml
from forecasting.samples import NORMALIZER, save
from mlflow.exceptions import MlflowException
from serving import answers
from training.conftest import CLIP, MACHINE
from waiting import wait_until

from physicnet.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from physicnet.data.synthetic import Uniform, advected_field
from physicnet.digest import content_hash
from physicnet.fields import DataError, Field
from physicnet.model.rollout import ModelForecaster
from physicnet.model.sharp import Sharp
from physicnet.normalization import Normalizer, Standardization
from physicnet.ports import free_port
from physicnet.served import REQUIRED, Served, log, offer
from physicnet.tracking import registered
from physicnet.tracking.registered import CHALLENGER, SHA256, Answering
from physicnet.tracking.store import Store

UNITS = {"rate": "mm h-1"}
MEAN = {"num_leads": 2, "output": "mean"}

Arrays = dict[str, np.ndarray]


def observations(num_frames: int = 5) -> Field:
    """Frames of which the last misses some cells."""
    record = advected_field(num_frames, 23, 29, flow=Uniform(2.0, 1.0))
    record.dataset["rate"][-1, 3:7, 5:11] = np.nan
    return record


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return save(tmp_path / "model.safetensors", observations())


@pytest.fixture(scope="module")
def store(repository: Path) -> Store:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return Store(repository)


@pytest.fixture(scope="module")
def run_id(store: Store, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run with a logged model, whose checkpoint is nowhere else any more."""
    run_id = store.find_or_create({"physicnet.child": "served"}, "train", {})
    checkpoint = save(tmp_path_factory.mktemp("models") / "model.safetensors", observations())
    assert log(store, run_id, checkpoint, observations(), MACHINE) == f"runs:/{run_id}/model"
    checkpoint.unlink()
    return run_id


@pytest.fixture(scope="module")
def folder(store: Store, run_id: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(store.client.download_artifacts(run_id, "model", str(tmp_path_factory.mktemp("downloaded"))))


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    from mlflow.pyfunc import load_model

    return load_model(str(folder))


@pytest.fixture(scope="module")
def address(store: Store, run_id: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the champion is served, by a process that is started in an empty folder."""
    store.client.set_registered_model_alias("physicnet", "champion", registered.register(store, run_id))
    port = free_port()
    command = ["-c", "from physicnet.cli import main; main()", "serve", "--port", str(port), "--body", "1"]
    empty = tmp_path_factory.mktemp("empty")
    with (empty / "log.txt").open("w") as output:
        server = subprocess.Popen(
            [sys.executable, *command],
            cwd=empty,
            env=os.environ | {"MLFLOW_TRACKING_URI": store.uri},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        assert wait_until(lambda: answers(address, "/ping") or server.poll() is not None, 180)
        assert server.poll() is None, (empty / "log.txt").read_text()
        yield address
    finally:
        stop(server)


def stop(server: subprocess.Popen) -> None:
    """End the server and the process that serves for it."""
    for process in psutil.Process(server.pid).children(recursive=True):
        process.terminate()
    server.terminate()
    server.wait(20)


def ask(address: str, body: dict[str, Any]) -> dict[str, Any]:
    request = Request(f"{address}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urlopen(request) as answer:
        return json.load(answer)["predictions"]


def request_of(record: Field) -> Arrays:
    """The arrays of a record, as one who has xarray alone makes them."""
    dataset = record.dataset
    time = np.datetime_as_string(dataset["time"].values, unit="s")
    return {"time": time} | {name: dataset[name].values for name in ("y", "x", "rate")}


def as_json(arrays: Arrays) -> dict[str, list]:
    return {name: np.where(array == array, array.astype(object), None).tolist() for name, array in arrays.items()}


def forecaster(folder: Path) -> ModelForecaster:
    return ModelForecaster.load(folder / "data" / "model.safetensors", MACHINE)


def test_the_signature_names_the_arrays_and_the_parameters(model: Any) -> None:
    signature = model.metadata.signature
    shapes = {spec.name: (spec.type.kind + str(spec.type.itemsize), spec.shape) for spec in signature.inputs}
    assert shapes == {"time": ("U0", (-1,)), "y": ("f8", (-1,)), "x": ("f8", (-1,)), "rate": ("f4", (-1, -1, -1))}
    assert signature.outputs == signature.inputs
    assert {param.name: param.default for param in signature.params} == {"num_leads": 2, "output": "mean"}


def test_the_units_are_told_with_the_model(model: Any) -> None:
    assert model.model_config["units"] == UNITS


def test_the_requirements_are_what_the_model_imports_in_the_versions_of_here(folder: Path) -> None:
    graph = grimp.build_graph("physicnet", include_external_packages=True, exclude_type_checking_imports=True)
    imported = {name for name in graph.find_upstream_modules("physicnet.served") if not name.startswith("physicnet")}
    outside = imported - sys.stdlib_module_names - {"mlflow"}
    packages = {package.lower() for name in outside for package in packages_distributions()[name]}
    assert packages | {"mlflow", "physicnet"} == set(REQUIRED)
    told = (folder / "requirements.txt").read_text().split()
    assert told == [f"{name}=={version(name).partition('+')[0]}" for name in REQUIRED]


def test_the_model_is_the_checkpoint_and_text_and_no_pickle(folder: Path) -> None:
    files = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    texts = {"input_example.json", "serving_input_example.json", "MLmodel", "conda.yaml", "python_env.yaml"}
    assert files == texts | {"requirements.txt", "data/model.safetensors"}
    assert all(isinstance(yaml.safe_load((folder / text).read_text()), dict) for text in texts)
    assert load_checkpoint(folder / "data" / "model.safetensors").metadata["step_seconds"] == 300.0
    assert yaml.safe_load((folder / "MLmodel").read_text())["flavors"].keys() == {"python_function"}


def test_the_example_is_the_last_frames_of_the_record(model: Any) -> None:
    expected = request_of(observations().isel(5 - CLIP.frames_in, 5))
    assert {name: array.tolist() for name, array in model.input_example.items() if name != "rate"} == {
        name: array.tolist() for name, array in expected.items() if name != "rate"
    }
    np.testing.assert_array_equal(model.input_example["rate"].astype(np.float32), expected["rate"])


@pytest.mark.parametrize(("output", "num_leads"), [("mean", 2), ("sharp", 5)])
def test_a_loaded_model_forecasts_as_the_checkpoint_does(model: Any, folder: Path, output: str, num_leads: int) -> None:
    record = observations()
    answer = model.predict(request_of(record), {"output": output, "num_leads": num_leads})
    plain = forecaster(folder)
    own = (Sharp(plain) if output == "sharp" else plain).forecast(record, num_leads)
    assert answer["rate"].dtype == np.float32
    np.testing.assert_array_equal(answer["rate"], own[:, 0])
    assert answer["time"].tolist() == [f"2020-01-01T00:{25 + 5 * lead}:00" for lead in range(num_leads)]
    np.testing.assert_array_equal(answer["x"], record.dataset["x"])


def test_the_server_answers_with_the_numbers_of_the_checkpoint(address: str, folder: Path) -> None:
    record = observations()
    answer = ask(address, {"inputs": as_json(request_of(record)), "params": {"num_leads": 3}})
    dataset = xr.Dataset({"rate": (("time", "y", "x"), answer.pop("rate"))}, answer)
    np.testing.assert_array_equal(dataset["rate"].astype(np.float32), forecaster(folder).forecast(record, 3)[:, 0])
    assert dataset["time"].values.tolist() == [f"2020-01-01T00:{25 + 5 * lead}:00" for lead in range(3)]


def test_the_server_answers_its_own_example(address: str, folder: Path) -> None:
    answer = ask(address, json.loads((folder / "serving_input_example.json").read_text()))
    expected = forecaster(folder).forecast(observations(), 2)[:, 0]
    np.testing.assert_array_equal(np.float32(answer["rate"]), expected)


def refusal(address: str, body: bytes, kind: str = "application/json") -> tuple[int, str]:
    """The status of a refused request and its reason, which comes without a stack trace."""
    with pytest.raises(HTTPError) as caught:
        urlopen(Request(f"{address}/invocations", body, {"Content-Type": kind}))
    told = caught.value.read().decode()
    assert "Traceback" not in told
    assert "stack_trace" not in told
    return caught.value.code, json.loads(told)["message"]


def with_inputs(**changes: Any) -> bytes:
    return json.dumps({"inputs": as_json(request_of(observations())) | changes}).encode()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "Ensure that input is a valid JSON formatted string"),
        (b"rain", "Ensure that input is a valid JSON formatted string"),
        (b"[1, 2]", "The input must be a JSON dictionary .*Received a list"),
        (b"[" * 100_000, "the body cannot be parsed: maximum recursion depth exceeded"),
        (b'{"inputs": {"rate": ' + b"9" * 5000 + b"}}", "the body cannot be parsed: Exceeds the limit .* digits"),
        (json.dumps({"inputs": as_json(request_of(observations(2)))}).encode(), "needs 3 frames, only 2 are there"),
        (with_inputs(rate=[[1.0]]), "Shape of input .* does not match expected shape"),
        (with_inputs(rate="wet"), "could not convert string to float: 'wet'"),
        (with_inputs(time=[1, 2, 3, 4, 5]), "time holds what is no time .*write UTC as"),
        (b'{"inputs": {"rate": [[[1.0]]]}}', r"Model is missing inputs \['time', 'y', 'x'\]"),
    ],
    ids=["empty", "text", "list", "deep", "long", "few", "flat", "word", "times", "lacking"],
)
def test_a_body_that_is_no_request_is_refused_with_a_reason(address: str, body: bytes, reason: str) -> None:
    status, told = refusal(address, body)
    assert status == 400
    assert re.search(reason, told)


def test_a_request_that_is_no_json_or_too_long_is_refused_and_the_server_goes_on(address: str, folder: Path) -> None:
    assert refusal(address, b"time,y,x\n", "text/csv") == (
        415,
        "the content type is 'text/csv'; send JSON in UTF-8, and say so: Content-Type: application/json",
    )
    status, told = refusal(address, b" " * (2**20 + 1))
    assert (status, told[:37]) == (413, "the body has 1.0 MiB, 1 are allowed; ")
    unmeasured = Request(f"{address}/invocations", iter([b"{}"]), {"Content-Type": "application/json"})
    with pytest.raises(HTTPError, match="Length Required"):
        urlopen(unmeasured)
    assert ask(address, json.loads((folder / "serving_input_example.json").read_text())).keys() >= {"time", "rate"}


def test_an_error_of_ours_is_told_in_the_log_alone(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def predict(self, *_: object) -> Arrays:
            raise RuntimeError("mat1 and mat2 cannot be multiplied")

    with pytest.raises(MlflowException, match="the forecast failed; the log says why") as caught:
        Answering(Broken()).predict({}, MEAN)
    assert caught.value.get_http_status_code() == 500
    assert "mat2" not in caught.value.serialize_as_json()
    assert "RuntimeError: mat1 and mat2" in caplog.text


def test_a_model_is_logged_and_registered_once(store: Store, run_id: str, checkpoint: Path, folder: Path) -> None:
    number = registered.register(store, run_id)
    assert log(store, run_id, checkpoint, observations(), MACHINE) == f"runs:/{run_id}/model"
    assert registered.register(store, run_id) == number
    files = {Path(file.path).name for file in store.client.list_artifacts(run_id, "model")}
    assert files == {file.name for file in folder.iterdir()}


def test_a_version_that_lost_its_server_before_its_hash_gets_it(
    store: Store, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("physicnet.tracking.registered.REGISTERED", tmp_path.name)
    monkeypatch.setattr("physicnet.served.log", lambda *_: "")
    run_id = store.find_or_create({"physicnet.child": tmp_path.name}, "train", {})
    number = registered.register(store, run_id)
    registered.name_version(store, CHALLENGER, number)
    assert offer(store, run_id, checkpoint, observations(), MACHINE, is_challenger=True)
    assert store.client.get_model_version(tmp_path.name, number).tags[SHA256] == content_hash(checkpoint)
    assert not offer(store, run_id, checkpoint, observations(), MACHINE, is_challenger=True)


def test_only_the_last_frames_of_a_request_count(model: Any) -> None:
    long, short = (request_of(observations().isel(start, 5)) for start in (0, 2))
    long["time"][0] = "2019-01-01"
    np.testing.assert_array_equal(model.predict(long, MEAN)["rate"], model.predict(short, MEAN)["rate"])


def test_times_may_carry_an_offset(model: Any) -> None:
    arrays = request_of(observations())
    moved = np.array([f"{text.replace('T00', 'T02')}+02:00" for text in arrays["time"]])
    assert model.predict(arrays | {"time": moved}, MEAN)["time"].tolist() == [
        "2020-01-01T00:25:00",
        "2020-01-01T00:30:00",
    ]


def test_an_axis_without_a_coordinate_has_no_array(tmp_path: Path) -> None:
    record = Field(observations().dataset.drop_vars("x"))
    served = Served(save(tmp_path / "model.safetensors", record), MACHINE, UNITS)
    assert list(served.predict(served.example(record), MEAN)) == ["time", "y", "rate"]


def test_variables_are_told_apart_by_name_and_not_by_order(tmp_path: Path) -> None:
    dataset = observations().dataset
    record = Field(dataset.assign(also=10 * dataset["rate"]))
    two = Normalizer((*NORMALIZER.channels, Standardization("also", (), 0.0, 1.0)))
    path = save(tmp_path / "model.safetensors", record, normalizer=two.to_dict())
    served = Served(path, MACHINE, {"also": "mm h-1", "rate": "mm h-1"})
    arrays = dict(sorted(served.example(record).items()))
    expected = ModelForecaster.load(path, MACHINE).forecast(record, 2)
    answer = served.predict(arrays, MEAN)
    np.testing.assert_array_equal(np.stack([answer["rate"], answer["also"]], axis=1), expected)


def changed(**changes: Any) -> Arrays:
    arrays = request_of(observations())
    return arrays | {name: np.asarray(change(arrays[name])) for name, change in changes.items()}


@pytest.mark.parametrize("name", ["time", "y", "x", "rate"])
def test_a_missing_array_is_refused(model: Any, name: str) -> None:
    arrays = request_of(observations())
    del arrays[name]
    with pytest.raises(MlflowException, match=f"Model is missing inputs .'{name}'."):
        model.predict(arrays, MEAN)


def test_another_variable_is_refused(model: Any) -> None:
    arrays = request_of(observations())
    arrays["snow"] = arrays.pop("rate")
    with pytest.raises(MlflowException, match=r"missing inputs .'rate'.. Note that there were extra inputs: .'snow'."):
        model.predict(arrays, MEAN)


def test_too_few_frames_are_refused(model: Any) -> None:
    with pytest.raises(MlflowException, match="needs 3 frames, only 1 are there; give it more"):
        model.predict(request_of(observations(1)), MEAN)


def test_irregular_times_are_refused(model: Any) -> None:
    late = changed(time=lambda time: [*time[:-1], "2020-01-01T00:30:00"])
    with pytest.raises(MlflowException, match=r"00:30:00 comes 900 s after .* knows steps of 300 s; give it 3 frames"):
        model.predict(late, MEAN)


def test_times_that_do_not_increase_are_refused(model: Any) -> None:
    with pytest.raises(MlflowException, match="times must increase"):
        model.predict(changed(time=lambda time: time[::-1]), MEAN)


def test_what_is_no_time_is_refused(model: Any) -> None:
    with pytest.raises(MlflowException, match=r"time holds what is no time .*noon.*write UTC as"):
        model.predict(changed(time=lambda time: [*time[:-1], "noon"]), MEAN)


@pytest.mark.parametrize("name", ["y", "x", "rate", "time"])
def test_arrays_that_do_not_fit_together_are_refused(model: Any, name: str) -> None:
    with pytest.raises(
        MlflowException, match=r"do not fit together, .*must have the shape .'time', 'y', 'x'."
    ) as caught:
        model.predict(changed(**{name: lambda array: array[1:]}), MEAN)
    assert str(len(request_of(observations())[name]) - 1) in str(caught.value)


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("absent", lambda cells: np.where(cells < 9000, cells, cells + 1000)),
        ("repeated", lambda cells: np.where(cells < 9000, cells, cells - 1000)),
        ("turning back", lambda cells: np.minimum(cells, 18000 - cells)),
        ("missing", lambda cells: np.where(cells == 9000, np.nan, cells)),
    ],
)
def test_a_grid_with_an_absent_or_repeated_row_is_refused(model: Any, what: str, change: Any) -> None:
    with pytest.raises(MlflowException, match="y is uneven: a row or column is absent, repeated or out of order"):
        model.predict(changed(y=change), MEAN)


def test_a_grid_of_another_spacing_is_refused(model: Any) -> None:
    with pytest.raises(
        MlflowException, match=r"grid spacing of the columns: 1000 m there, 2000 m here; give it frames"
    ):
        model.predict(changed(x=lambda x: 2 * x), MEAN)


def test_no_lead_is_refused(model: Any) -> None:
    with pytest.raises(MlflowException, match="num_leads is 0; ask for 1 lead at least, and 20 at most"):
        model.predict(request_of(observations()), {"num_leads": 0})


@pytest.mark.parametrize("number", [21, 10**9, None])
def test_a_number_of_leads_that_no_answer_holds_is_refused(model: Any, number: int | None) -> None:
    with pytest.raises(MlflowException, match=f"num_leads is {number}; ask for 1 lead at least, and 20 at most"):
        model.predict(request_of(observations()), {"num_leads": number})


def test_an_unknown_output_is_refused(model: Any) -> None:
    with pytest.raises(MlflowException, match=r"output is 'median'; ask for one of .'mean', 'sharp'."):
        model.predict(request_of(observations()), {"output": "median"})


@pytest.mark.parametrize("names", [{"y": "lat"}, {"rate": "snow"}])
def test_an_example_of_other_names_is_refused(checkpoint: Path, names: dict[str, str]) -> None:
    record = Field(observations().dataset.rename(names))
    with pytest.raises(DataError, match=r"the model takes .'rate',. along .'y', 'x'.; give it .*under these names"):
        Served(checkpoint, MACHINE, record.units).example(record)


def test_an_example_of_another_calendar_is_refused(checkpoint: Path) -> None:
    record = Field(observations().dataset.convert_calendar("noleap"))
    with pytest.raises(DataError, match="calendar noleap; only models of the Gregorian calendar can be served"):
        Served(checkpoint, MACHINE, UNITS).example(record)


def test_a_checkpoint_that_does_not_tell_its_grid_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.safetensors"
    stored = load_checkpoint(save(path, observations()))
    told = {key: value for key, value in stored.metadata.items() if key != "grid"}
    save_checkpoint(path, stored.tensors, told)
    with pytest.raises(CheckpointError, match=r"old.safetensors does not tell grid: .*train again"):
        Served(path, MACHINE, UNITS)


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "other.safetensors", {"w": torch.zeros(1)}, {})
    with pytest.raises(CheckpointError, match="holds no PhysicNet of this version"):
        Served(tmp_path / "other.safetensors", MACHINE, UNITS)
