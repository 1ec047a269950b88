import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from tested import origins_table
from workspaces import paths_of

from physicnet import cli
from physicnet.config import ConfigError
from physicnet.data.synthetic import Uniform, advected_field, write_netcdf
from physicnet.mirror import StageMirror
from physicnet.tracking import holdings
from physicnet.tracking.store import Store

HEAVY = ("torch", "mlflow", "xarray", "pandas", "dask", "zarr", "netCDF4", "matplotlib", "skimage", "pydantic", "dvc")
Run = Callable[..., None]
PARAMS = Path(__file__).parent.parent / "params.yaml"
UNBOUND = {"valid_min": None, "valid_max": None}
RATE = {"name": "rate", "channel": None, "units": "mm h-1", "file_units": None, "select": {}} | UNBOUND


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with parameters, and memory for a process that other tests filled; MLflow is out of reach."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    (tmp_path / "params.yaml").write_text(PARAMS.read_text().replace("memory_limit: 2 GiB", "memory_limit: 64 GiB"))
    (tmp_path / "raw").mkdir()
    return tmp_path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run a command in this process; the handler of SIGTERM is put back afterwards."""
    before = signal.getsignal(signal.SIGTERM)

    def main(*words: str) -> None:
        monkeypatch.setattr(sys, "argv", ["physicnet", *words])
        cli.main()

    yield main
    signal.signal(signal.SIGTERM, before)


def test_help_answers_without_loading_anything_heavy() -> None:
    program = (
        "import sys; sys.argv = ['physicnet', '--help']\n"
        "from physicnet.cli import main\n"
        "try: main()\n"
        f"finally: print('loaded:', [name for name in {HEAVY} if name in sys.modules])"
    )
    begin = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "loaded: []" in done.stdout
    assert "evaluate" in done.stdout
    assert time.monotonic() - begin < 5  # under a second on a machine that does nothing else


NORMALIZED = ("normalized", "statistics", "maps")
INGEST = ("ingest", "--raw", "raw", "--fields", "fields", "--catalogue", "catalogue", "--resume", "state")


@pytest.mark.usefixtures("folder")
def test_a_stage_gets_its_section_and_its_paths(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    monkeypatch.setattr("physicnet.data.normalize.normalize", lambda *config, **paths: seen.extend([*config, paths]))
    Path("fields").mkdir()
    with pytest.raises(SystemExit) as ending:
        run("normalize", "--fields", "fields", *(word for name in NORMALIZED for word in (f"--{name}", name)))
    assert ending.value.code == 0
    assert seen[0].gap == 4  # type: ignore[attr-defined]
    assert seen[2].memory_limit == "64 GiB"  # type: ignore[attr-defined]
    assert seen[3] == {name: Path(name) for name in ("fields", *NORMALIZED)}


def test_what_a_user_can_mend_is_one_message_without_traceback(
    folder: Path, run: Run, capsys: pytest.CaptureFixture
) -> None:
    (folder / "params.yaml").write_text("ingest: [1]")
    with pytest.raises(SystemExit) as ending:
        run(*INGEST)
    assert ending.value.code == 1
    message = capsys.readouterr().err
    assert message.startswith("Error: params.yaml cannot be used:")
    assert "Traceback" not in message


@pytest.mark.usefixtures("folder")
def test_what_a_user_cannot_mend_keeps_its_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("operands could not be broadcast")

    monkeypatch.setattr("physicnet.data.ingest.ingest", broken)
    with pytest.raises(ValueError, match="broadcast"):
        run(*INGEST)


def test_an_error_is_printed_as_it_is_without_markup(capsys: pytest.CaptureFixture) -> None:
    cli._complain(ConfigError("crops[0].window [bold] is 3"))
    assert capsys.readouterr().err == "Error: crops[0].window [bold] is 3\n"


def test_an_input_that_does_not_exist_is_named(folder: Path, run: Run, capsys: pytest.CaptureFixture) -> None:
    (folder / "raw").rmdir()
    with pytest.raises(SystemExit) as ending:
        run(*INGEST)
    assert ending.value.code == 2
    assert "'raw' does not exist" in " ".join(capsys.readouterr().err.split())


def test_sigterm_leaves_no_half_output(folder: Path) -> None:
    """The stage is one that writes slowly, as ours do: under another name first."""
    program = (
        "import sys, time; import physicnet.data.ingest as stage\n"
        "from physicnet.cli import main; from physicnet.fields import written_whole\n"
        "def slow(*_, fields, **paths):\n"
        "    with written_whole(fields) as partial:\n"
        "        partial.write_text('half'); print('writing', flush=True); time.sleep(60)\n"
        "stage.ingest = slow\n"
        f"sys.argv = ['physicnet', *{INGEST}]; main()"
    )
    stage = subprocess.Popen([sys.executable, "-c", program], cwd=folder, stdout=subprocess.PIPE, text=True)
    assert stage.stdout is not None
    assert stage.stdout.readline() == "writing\n"
    before = time.monotonic()
    stage.terminate()
    stage.communicate(timeout=30)
    assert stage.returncode == 143
    assert time.monotonic() - before < 15
    assert sorted(path.name for path in folder.iterdir() if path.name != ".physicnet") == ["params.yaml", "raw"]


def test_the_table_of_results_needs_results(folder: Path, run: Run, capsys: pytest.CaptureFixture) -> None:
    (folder / "results").mkdir()
    with pytest.raises(SystemExit) as ending:
        run("table", "results")
    assert ending.value.code == 1
    assert "scores.csv does not exist" in capsys.readouterr().err


def test_the_view_of_all_runs_is_served_for_this_machine_alone(
    repository: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(repository)
    shown: list[tuple] = []
    monkeypatch.setattr("physicnet.viewer.view", lambda *args, **options: shown.append((*args[1:], options)))
    monkeypatch.setattr("physicnet.process.end_cleanly_on_sigterm", lambda: None)
    with pytest.raises(SystemExit):
        run("ui", "--port", "5055", "--no-browser")
    assert shown == [(5055, {"in_browser": False})]


@pytest.mark.usefixtures("folder")
def test_the_view_of_all_runs_on_a_server_is_named(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("physicnet.tracking.page.arrange", lambda _: "/#/experiments/7")
    with pytest.raises(SystemExit):
        run("ui")
    assert "http://127.0.0.1:1/#/experiments/7" in capsys.readouterr().out


@pytest.fixture
def two_tests(repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The ids of two evaluations, the second with half the error, in the store of the current folder."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(repository)
    store, ids = Store(repository), []
    for factor in (1.0, 0.25):
        origins_table(factor).to_csv(tmp_path / "origins.csv", index=False)
        ids.append(store.find_or_create({"physicnet.child": f"cli {factor}"}, "evaluate", {"dvc.stage": "evaluate"}))
        holdings.keep(store, ids[-1], tmp_path / "origins.csv")
    return ids


def test_runs_are_compared_by_the_beginnings_of_their_ids(
    two_tests: list[str], run: Run, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as ending:
        run("compare", *(run_id[:16] for run_id in two_tests))
    assert ending.value.code == 0
    assert "RMSE of B against A: B is better at every lead." in capsys.readouterr().out


def test_a_run_is_explained_in_lines_that_a_pipe_does_not_break(
    two_tests: list[str], run: Run, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    with pytest.raises(SystemExit) as ending:
        run("explain", two_tests[0])
    assert ending.value.code == 0
    assert capsys.readouterr().out.startswith(f"Execution {two_tests[0]}\n")


@pytest.mark.usefixtures("two_tests")
@pytest.mark.parametrize("words", [("compare", "0000000", "1111111"), ("explain", "0000000")])
def test_an_unknown_run_is_one_message(words: tuple[str, ...], run: Run, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ending:
        run(*words)
    assert ending.value.code == 1
    assert "has an id that begins with 0000000" in capsys.readouterr().err


@pytest.mark.usefixtures("two_tests")
@pytest.mark.parametrize(
    ("command", "said"), [("promote", "is the challenger: dvc repro"), ("rollback", "so there is none to go back to")]
)
def test_without_a_registered_model_nothing_is_promoted_or_taken_back(
    command: str, said: str, run: Run, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("physicnet.tracking.registered.REGISTERED", "nothing")
    with pytest.raises(SystemExit) as ending:
        run(command)
    assert ending.value.code == 1
    assert said in capsys.readouterr().err


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("stage", ["normalize", "crops", "codebook", "train", "evaluate"])
def test_every_stage_mirrors_its_run(stage: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = yaml.safe_load((PARAMS.parent / "dvc.yaml").read_text())["stages"]
    words = commands[stage]["cmd"].split()[1:]
    for path in words[2::2]:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()
    begun: list[object] = []
    monkeypatch.setattr(StageMirror, "begin", lambda mirror: begun.extend([mirror.paths, list(mirror.sections)]))
    monkeypatch.setattr(StageMirror, "end", lambda _, status: begun.append(status))
    monkeypatch.setattr(StageMirror, "show", lambda _: begun.append("shown"))
    functions = {
        "normalize": "data.normalize.normalize",
        "crops": "data.crops.draw_crops",
        "codebook": "training.pretraining.pretrain",
        "train": "training.joint.train",
        "evaluate": "evaluation.verify.evaluate",
    }
    monkeypatch.setattr(f"physicnet.{functions[stage]}", lambda *_, **__: None)
    with pytest.raises(SystemExit) as ending:
        run(*words)
    assert ending.value.code == 0
    sections = [name for name in commands[stage]["params"] if "." not in name]
    assert begun == [paths_of(stage), sections, "shown", "FINISHED"]


def raw_file(path: Path) -> None:
    write_netcdf(advected_field(6, 20, 24, flow=Uniform(1.0, 0.0)), path)


def params_for_it(folder: Path, **changes: object) -> None:
    params = yaml.safe_load(PARAMS.read_text())
    params["ingest"] |= {"variables": [RATE], "pattern": "*.nc", "memory_limit": "64 GiB"}  # of all tests' process
    params["ingest"] |= changes
    params["normalize"]["transforms"] = {"rate": []}
    params["normalize"]["standardize"] = {"rate": "global"}
    params["evaluate"]["thresholds"] = {"rate": [1.0]}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


@pytest.mark.parametrize(("allowed", "status"), [(0, 1), (1, 0)])
def test_refused_files_fail_the_command_after_the_rest_is_ingested(
    folder: Path, run: Run, capsys: pytest.CaptureFixture, allowed: int, status: int
) -> None:
    params_for_it(folder, max_quarantined=allowed)
    raw_file(folder / "raw" / "a.nc")
    (folder / "raw" / "b.nc").write_text("<html>")
    with pytest.raises(SystemExit) as ending:
        run(*INGEST)
    assert ending.value.code == status
    said = capsys.readouterr()
    assert "b.nc" in said.out
    message = "Error: 1 of 2 files are quarantined, as a whole or in part, more than ingest.max_quarantined = 0"
    assert (message in said.err) == bool(status)
    assert (folder / "fields" / "zarr.json").is_file()
    assert (folder / "catalogue" / "frames.parquet").is_file()


def test_inspect_says_by_its_status_whether_all_would_be_accepted(
    folder: Path, run: Run, capsys: pytest.CaptureFixture
) -> None:
    params_for_it(folder)
    raw_file(folder / "raw" / "a.nc")
    with pytest.raises(SystemExit) as ending:
        run("inspect", "raw")
    assert ending.value.code == 0
    (folder / "raw" / "b.nc").write_text("<html>")
    with pytest.raises(SystemExit) as ending:
        run("inspect", "raw/a.nc", "raw/b.nc")
    assert ending.value.code == 1
    assert "cannot be read as NetCDF" in " ".join(capsys.readouterr().out.split())
    assert sorted(path.name for path in folder.iterdir()) == ["params.yaml", "raw"]
