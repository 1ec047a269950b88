import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from prefect.artifacts import Artifact
from waiting import pid_in, wait_until

from flows import retrain as module
from flows.retrain import alone, changed, default_remote, is_judged, retrain, too_little
from physicnet.checkpoint import save_checkpoint
from physicnet.config import Params, load_params
from physicnet.digest import content_hash

ROOT = Path(__file__).parents[2]
STAGES = {
    "ingest": {"cmd": "cp raw fields.zarr && true --catalogue catalogue", "deps": ["raw"], "outs": ["fields.zarr"]},
    "normalize": {
        "cmd": "cp fields.zarr statistics.json && true --fields fields.zarr --statistics statistics.json",
        "deps": ["fields.zarr"],
        "outs": ["statistics.json"],
    },
    "evaluate": {
        "cmd": "cp statistics.json model && true --checkpoint model --results results",
        "deps": ["statistics.json"],
        "params": ["evaluate"],
        "outs": ["model"],
    },
}


@pytest.fixture
def folder(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pipeline whose files hold the number of frames of the record, and whose models are always promoted."""
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}))
    (project / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    (project / "raw").write_text("20")

    def frames_since(fields: Path, statistics: Path) -> int:
        return int(fields.read_text()) - int(statistics.read_text())

    def judge(_: object) -> None:
        (project / "reports").mkdir(exist_ok=True)
        told = {
            "verdict": "promoted",
            "words": "Promoted.",
            "challenger": {"checkpoint_sha256": content_hash(Path("model"))},
        }
        (project / "reports" / "promotion.json").write_text(json.dumps(told))

    monkeypatch.setattr(module, "frames_since", frames_since)
    monkeypatch.setattr(module, "judge", judge)
    monkeypatch.setattr("physicnet.registry.champion_sha256", lambda _: None)
    return project


@pytest.fixture
def params(folder: Path) -> Params:
    return load_params(folder / "params.yaml")


def set_params(folder: Path, section: str, **values: object) -> None:
    content = yaml.safe_load((folder / "params.yaml").read_text())
    content[section] |= values
    (folder / "params.yaml").write_text(yaml.safe_dump(content))


def dvc(*arguments: str) -> str:
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.usefixtures("_server")
def test_a_retrain_does_the_rest_of_dvc_repro_and_leaves_a_page(folder: Path) -> None:
    state = retrain(return_state=True)
    assert (state.name, state.message) == ("Promoted", "Promoted.")
    assert "up to date" in dvc("repro")
    page = Artifact.get("retrain")
    assert page is not None
    assert "| evaluate | Ran |" in str(page.data)


@pytest.mark.usefixtures("_server")
def test_too_few_new_frames_are_ingested_and_wait(folder: Path) -> None:
    retrain()
    (folder / "raw").write_text("31")
    state = retrain(return_state=True)
    assert state.name == "Skipped"
    assert state.message == (
        "too little is new: 11 frames since the last training; retrain.minimum_new_frames asks for 12"
    )
    assert (folder / "fields.zarr").read_text() == "31"
    assert (folder / "model").read_text() == "20"
    (folder / "raw").write_text("32")
    assert retrain(return_state=True).name == "Promoted"
    assert (folder / "model").read_text() == "32"


@pytest.mark.usefixtures("_server")
def test_with_nothing_new_there_is_nothing_to_do(folder: Path) -> None:
    retrain()
    state = retrain(return_state=True)
    assert (state.name, state.message) == ("Skipped", "nothing is new: all stages are up to date")


@pytest.mark.usefixtures("_server")
def test_a_model_that_was_not_judged_is_judged_by_the_next_retrain(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module, "judge", lambda _: (_ for _ in ()).throw(module.StageFailedError("no registry")))
        with pytest.raises(module.StageFailedError, match="no registry"):
            retrain()
    assert not is_judged()
    assert retrain(return_state=True).name == "Promoted"
    assert is_judged()


@pytest.mark.usefixtures("_server")
def test_results_are_pushed_to_the_remote_and_fetched_from_it(folder: Path, tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    assert default_remote() is None
    dvc("remote", "add", "--default", "there", str(remote))
    assert default_remote() == "there"
    retrain()
    pushed = {path.read_bytes() for path in (remote / "files").rglob("*") if path.is_file()}
    assert b"20" in pushed
    gone = [".dvc/cache", "fields.zarr", "statistics.json", "model", "dvc.lock", "reports"]
    subprocess.run(["rm", "-r", *gone], check=True)
    retrain()
    assert (folder / "model").read_text() == "20"
    page = Artifact.get("retrain")
    assert page is not None
    assert "| evaluate | Cached |" in str(page.data)


def test_another_retrain_in_the_folder_is_seen(folder: Path) -> None:
    program = (
        "from flows.retrain import alone\nfrom pathlib import Path\nimport os, time\n"
        "with alone() as other:\n    Path('held').write_text(str(os.getpid()))\n    time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", program])
    assert pid_in(folder / "held") == holder.pid
    with alone() as other:
        assert other == holder.pid
    holder.kill()
    holder.wait()

    def is_free() -> bool:
        with alone() as other:
            return other is None

    assert wait_until(is_free)


def test_whatever_else_has_changed_is_worth_a_training(folder: Path, params: Params) -> None:
    assert too_little(params) is None  # nothing was made yet
    dvc("repro")
    assert too_little(params) == "nothing is new: all stages are up to date"
    (folder / "raw").write_text("21")
    dvc("repro", "ingest")
    assert changed() == {"fields.zarr"}
    assert "1 frames since" in str(too_little(params))
    set_params(folder, "evaluate", seed=14)
    assert too_little(load_params(folder / "params.yaml")) is None


@pytest.fixture
def champion(folder: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What the champion's checkpoint tells of its model: the same as params.yaml, until it is changed."""
    model = params.model.model_dump(mode="json")

    def copy_champion(_store: object, target: Path) -> str:
        save_checkpoint(target, {}, {"model": model})
        return content_hash(target)

    monkeypatch.setattr("physicnet.registry.copy_champion", copy_champion)
    return model


@pytest.mark.usefixtures("champion")
def test_a_warm_start_is_written_where_training_reads_it(folder: Path) -> None:
    module.start_from_champion.fn()
    started = load_params(folder / "params.yaml").train.init_from
    assert started is not None
    assert started.checkpoint == "models/champion.safetensors"
    assert started.sha256 == content_hash(folder / started.checkpoint)
    changed = set((folder / "params.yaml").read_text().splitlines()) ^ set(
        (ROOT / "params.yaml").read_text().splitlines()
    )
    assert [line.split(":")[0].strip() for line in sorted(changed)] == ["init_from", "init_from"]


def test_a_champion_of_another_kind_is_refused_with_the_remedy(folder: Path, champion: dict[str, object]) -> None:
    before = (folder / "params.yaml").read_bytes()
    del champion["quantize"]
    champion["hidden"] = 7
    champion["seed"] = 0  # does not matter
    with pytest.raises(
        module.StageFailedError, match=r"\(model.hidden: 7 there, 48 here, model.quantize: none there, True"
    ):
        module.start_from_champion.fn()
    assert (folder / "params.yaml").read_bytes() == before


def test_a_decision_or_the_champions_name_makes_a_model_judged(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_judged()  # there is no model
    dvc("repro")
    assert not is_judged()
    sha256 = content_hash(folder / "model")
    monkeypatch.setattr("physicnet.registry.champion_sha256", lambda _: sha256)
    assert is_judged()
    monkeypatch.setattr("physicnet.registry.champion_sha256", lambda _: None)
    (folder / "reports").mkdir()
    told = {"verdict": "rolled back", "words": "Version 1 again.", "replaced": {"checkpoint_sha256": sha256}}
    (folder / "reports" / "promotion.json").write_text(json.dumps(told))
    assert is_judged()


@pytest.mark.usefixtures("_server")
def test_what_a_retrain_that_was_cut_short_did_not_deliver_the_next_one_does(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    retrain()
    dvc("remote", "add", "--default", "there", str(tmp_path / "remote"))
    assert retrain(return_state=True).name == "Skipped"
    assert b"20" in {path.read_bytes() for path in (tmp_path / "remote" / "files").rglob("*") if path.is_file()}
