"""DVC sees only what dvc.yaml tells it; these tests hold dvc.yaml to the code."""

import inspect
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import grimp
import pytest
import typer.main
import yaml

from physicnet.cli import app
from physicnet.config import Params, Section, Thresholds
from physicnet.data.crops import draw_crops
from physicnet.data.ingest import ingest
from physicnet.data.normalize import normalize
from physicnet.evaluation.verify import evaluate
from physicnet.tracking.executions import UNREAD
from physicnet.training.joint import train
from physicnet.training.pretraining import pretrain

ROOT = Path(__file__).parent.parent
FUNCTIONS: dict[str, Callable] = {
    "ingest": ingest,
    "normalize": normalize,
    "crops": draw_crops,
    "codebook": pretrain,
    "train": train,
    "evaluate": evaluate,
}
STAGES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
each_stage = pytest.mark.parametrize("stage", FUNCTIONS)


def test_every_stage_has_a_function() -> None:
    assert STAGES.keys() == FUNCTIONS.keys()


@each_stage
def test_code_dependencies_are_what_the_stage_imports(stage: str) -> None:
    declared = {path for path in STAGES[stage]["deps"] if path.endswith(".py")}
    imported = {path_of(module) for module in closure(FUNCTIONS[stage].__module__)}
    assert declared == imported, f"deps of {stage} in dvc.yaml: add {imported - declared}, drop {declared - imported}"


def test_no_two_files_of_tests_have_one_name() -> None:
    """Their folders are no packages: pytest would take the second for the first, when all are run together."""
    names = Counter(file.name for file in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []


def test_packages_hold_no_code_that_dvc_would_not_see() -> None:
    packages = [file for file in (ROOT / "physicnet").rglob("__init__.py") if file.read_text().strip()]
    assert packages == [ROOT / "physicnet" / "__init__.py"]


def test_the_package_itself_only_hands_on_what_is_asked_for() -> None:
    program = "import sys, physicnet; print(sorted(n for n in sys.modules if n.startswith(('physicnet', 'numpy'))))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["['physicnet']"]


@each_stage
def test_params_are_the_sections_that_the_stage_takes(stage: str) -> None:
    names = {kind: name for name, kind in get_type_hints(Params).items()} | {Thresholds: "evaluate.thresholds"}
    hints = get_type_hints(FUNCTIONS[stage]).values()
    taken = [names[kind] for kind in hints if is_section(kind) or kind == Thresholds]
    assert STAGES[stage]["params"] == taken


@each_stage
def test_the_command_spells_every_path_that_the_stage_takes(stage: str) -> None:
    name, paths = parse_command(stage)
    hints = get_type_hints(FUNCTIONS[stage])
    assert name == stage
    assert set(paths) == {argument for argument, kind in hints.items() if kind is Path}
    assert all(
        inspect.signature(FUNCTIONS[stage]).parameters[argument].kind is inspect.Parameter.KEYWORD_ONLY
        for argument in paths
    )


@each_stage
def test_the_command_line_has_these_options_and_requires_them(stage: str) -> None:
    command = typer.main.get_command(app).commands[stage]  # type: ignore[attr-defined]
    assert {option.name for option in command.params} == set(parse_command(stage)[1])
    assert all(option.required for option in command.params)


@each_stage
def test_paths_are_dependencies_or_outputs_and_both_are_paths_of_the_command(stage: str) -> None:
    spelled = {path for option, path in parse_command(stage)[1].items() if option != "resume"}
    inputs = {path for path in STAGES[stage]["deps"] if not path.endswith(".py")}
    assert spelled == inputs | outputs(stage)
    assert not inputs & outputs(stage)


@each_stage
def test_the_state_of_an_interrupted_run_is_nobodys_input_or_output(stage: str) -> None:
    resume = parse_command(stage)[1].get("resume", f".physicnet/{stage}")
    assert resume == f".physicnet/{stage}"
    for name in (".dvcignore", ".gitignore"):
        assert ".physicnet" in (ROOT / name).read_text().replace("/", "").split()


def test_inputs_are_raw_data_or_made_by_an_earlier_stage() -> None:
    made = {"data/raw"}
    for stage in STAGES:
        assert {path for path in STAGES[stage]["deps"] if not path.endswith(".py")} <= made
        made |= outputs(stage)


def test_what_is_drawn_is_made_by_a_stage() -> None:
    plots = yaml.safe_load((ROOT / "dvc.yaml").read_text())["plots"]
    files = [file for plot in plots if isinstance(plot, dict) for settings in plot.values() for file in settings["y"]]
    made = set().union(*(outputs(stage) for stage in STAGES))
    assert files
    for file in [*files, *(plot for plot in plots if isinstance(plot, str))]:
        assert file in made or str(Path(file).parent) in made


def test_neither_compiled_code_nor_the_history_of_runs_reaches_dvc() -> None:
    ignored = ["physicnet/__pycache__/config.pyc", "physicnet/model/__pycache__/", "mlflow/artifacts/1", "mlruns/1"]
    command = [sys.executable, "-m", "dvc", "check-ignore", *ignored]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ignored


@cache
def closure(module: str) -> frozenset[str]:
    """A module and all modules of physicnet that it imports, also indirectly; packages themselves are empty."""
    graph = grimp.build_graph("physicnet", exclude_type_checking_imports=True)
    found = graph.find_upstream_modules(module) | {module}
    return frozenset(name for name in found if (ROOT / path_of(name)).exists())


def path_of(module: str) -> str:
    return module.replace(".", "/") + ".py"


def is_section(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def parse_command(stage: str) -> tuple[str, dict[str, str]]:
    program, name, *words = shlex.split(STAGES[stage]["cmd"])
    assert program == "physicnet"
    assert all(option.startswith("--") for option in words[::2])
    return name, {option[2:]: path for option, path in zip(words[::2], words[1::2], strict=True)}


def outputs(stage: str) -> set[str]:
    entries = [*STAGES[stage].get("outs", []), *STAGES[stage].get("metrics", [])]
    return {entry if isinstance(entry, str) else next(iter(entry)) for entry in entries}


def test_an_execution_is_described_by_the_sections_that_stages_read() -> None:
    read = {name.partition(".")[0] for stage in STAGES.values() for name in stage.get("params", [])}
    assert read | UNREAD == set(Params.model_fields)
    assert not read & UNREAD
