"""The sets are valid, and DVC gets what they say. That each reads what its source writes: tests/source/test_sets.py."""

import shutil
import subprocess
from pathlib import Path

import parameter_sets
import pytest

from physicnet.config import load_params

ROOT = Path(__file__).parents[2]
FAKE = '#!/bin/sh\nprintf \'%s\\n\' "$0" "$@" >> told\n'


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("name", parameter_sets.names())
def test_every_set_makes_valid_parameters_that_name_no_radar(name: str) -> None:
    params = parameter_sets.read(name)
    assert "rain_rate" not in params.normalize.transforms
    assert params.train.rescale == 1.0  # no set is of a rate
    assert set(params.promote.must_beat) <= set(params.evaluate.baselines)
    assert (ROOT / "docs" / "sets.md").read_text(encoding="utf-8").count(f"`{name}`") >= 1


def test_the_set_of_temperature_reads_the_second_bundled_sample() -> None:
    params = parameter_sets.read("temperature")
    assert [variable.name for variable in params.ingest.variables] == ["t2m"]
    assert not params.normalize.is_pointwise("t2m")
    assert len(list((ROOT / "data" / "raw").glob(params.ingest.pattern))) == 1
    assert load_params(ROOT / "params.yaml").ingest.pattern == "radar_*.nc"


def run_make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make where DVC and physicnet only note down what they are told."""
    (folder / ".venv" / "bin").mkdir(parents=True)
    for program in ("dvc", "physicnet"):
        path = folder / ".venv" / "bin" / program
        path.write_text(FAKE, encoding="utf-8")
        path.chmod(0o755)
    shutil.copy(ROOT / "Makefile", folder)
    shutil.copytree(ROOT / "sets", folder / "sets")
    command = ["make", "--old-file", ".venv/bin/.installed", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("target", "name"), [("temperature", "temperature"), ("set", "gray-scott")])
def test_make_hands_the_overrides_of_a_set_to_dvc_and_prints_the_table(target: str, name: str, tmp_path: Path) -> None:
    naming = ["NAME=gray-scott"] if target == "set" else []
    assert run_make(tmp_path, target, *naming, "OPTIONS=--temp -S train.epochs=7").returncode == 0
    told = (tmp_path / "told").read_text(encoding="utf-8").splitlines()
    settings = [word for override in parameter_sets.overrides(name) for word in ("-S", override)]
    programs = tmp_path / ".venv" / "bin"
    assert told == [
        *(f"{programs}/dvc", "exp", "run", *settings, "--temp", "-S", "train.epochs=7"),
        *(f"{programs}/physicnet", "table"),
    ]


def test_make_lists_the_sets_where_one_is_not_there(tmp_path: Path) -> None:
    done = run_make(tmp_path, "set", "NAME=grey-scott")
    assert done.returncode != 0
    assert f"NAME=grey-scott: no such set; there are {' '.join(parameter_sets.names())}" in done.stderr
    assert not (tmp_path / "told").exists()
