import subprocess
import sys
from pathlib import Path

import dvc_folder
import pytest
import yaml

from physicnet.lineage import (
    command_paths,
    declared_entry,
    declared_stages,
    git_state,
    holds_outputs,
    is_as_recorded,
    md5_of,
    recorded_entries,
)

PIPELINE = {
    "stages": {
        "make": {
            "cmd": "cp -r raw made",
            "deps": ["raw", "code.py"],
            "params": ["make"],
            "outs": ["made"],
        },
        "sum": {
            "cmd": "cat made/b/1 made/a-1\n> total",
            "deps": ["made"],
            "params": ["sum", "make.size"],
            "outs": ["total"],
        },
    }
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DVC project of two stages that has been run once."""
    root = tmp_path_factory.mktemp("project")
    for name in ("a-1", "b/1", "b/__pycache__/x.pyc"):
        (root / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "raw" / name).write_text(name)
    (root / "code.py").write_text("pass\r\n")
    (root / ".dvcignore").write_text("__pycache__\n*.pyc\n")
    (root / "params.yaml").write_text("make: {size: 3, names: [a, b]}\nsum: {rate: 0.002}\nother: {x: 1}\n")
    (root / "dvc.yaml").write_text(yaml.safe_dump(PIPELINE))
    dvc_folder.init(root)
    subprocess.run([sys.executable, "-m", "dvc", "repro", "--quiet"], cwd=root, check=True)
    return root


@pytest.mark.parametrize("stage", ["make", "sum"])
def test_an_entry_is_what_dvc_writes_to_its_lock(project: Path, stage: str) -> None:
    declared = declared_entry(project, stage)
    assert declared == recorded_entries(project)[stage]
    assert declared is not None
    assert declared.key == recorded_entries(project)[stage].key


def test_an_entry_knows_the_hashes_of_its_outputs(project: Path) -> None:
    entries = recorded_entries(project)
    assert entries["sum"].outs == {"total": md5_of(project / "total")}
    assert entries["make"].outs["made"] == entries["sum"].deps["made"]


def test_an_entry_that_breaks_off_counts_as_none(project: Path, tmp_path: Path) -> None:
    lock = (project / "dvc.lock").read_text()
    whole, last = recorded_entries(project), lock.index("  sum:\n")
    for end in (index for index in range(last, len(lock)) if lock[index] in ":\n"):
        (tmp_path / "dvc.lock").write_text(lock[: end + 1])
        entries = recorded_entries(tmp_path)
        assert entries["make"] == whole["make"]
        has_hash = lock[last:end].count("md5: ") == lock[last:].count("md5: ")
        assert set(entries) - {"make"} == ({"sum"} if has_hash else set())
    assert recorded_entries(tmp_path) == whole


def test_changed_code_and_parameters_are_seen(project: Path, tmp_path: Path) -> None:
    subprocess.run(["cp", "-r", f"{project}/.", str(tmp_path)], check=True)
    entries = recorded_entries(tmp_path)
    assert all(is_as_recorded(tmp_path, entry) for entry in entries.values())
    (tmp_path / "params.yaml").write_text("make: {size: 3, names: [a, b]}\n")
    assert [name for name, entry in entries.items() if is_as_recorded(tmp_path, entry)] == ["make"]
    (tmp_path / "params.yaml").write_text("make: {size: 3, names: [c]}\nsum: {rate: 0.002}\n")
    assert [name for name, entry in entries.items() if is_as_recorded(tmp_path, entry)] == [
        "sum"
    ]  # reads the size alone
    (tmp_path / "params.yaml").write_text("make: {size: 3, names: [a, b]}\n")
    (tmp_path / "code.py").unlink()
    assert not is_as_recorded(tmp_path, entries["make"])


def test_the_key_changes_with_parameters_and_inputs(project: Path, tmp_path: Path) -> None:
    subprocess.run(["cp", "-r", f"{project}/.", str(tmp_path)], check=True)
    keys = {_key(tmp_path)}
    (tmp_path / "params.yaml").write_text("make: {size: 4}\n")
    keys.add(_key(tmp_path))
    (tmp_path / "raw/a-1").write_text("new")
    keys.add(_key(tmp_path))
    assert len(keys) == 3


def test_data_is_what_is_not_code(project: Path) -> None:
    assert set(recorded_entries(project)["make"].data) == {"raw"}


def test_a_stage_that_dvc_does_not_know_has_no_entry(project: Path, tmp_path: Path) -> None:
    assert declared_entry(project, "unknown") is None
    assert declared_entry(tmp_path, "make") is None
    assert recorded_entries(tmp_path) == {}


def test_stages_stand_in_the_order_of_the_pipeline(project: Path, tmp_path: Path) -> None:
    assert declared_stages(project) == ["make", "sum"]
    assert declared_stages(tmp_path) == []


def test_the_paths_of_a_command_are_told_by_option(tmp_path: Path) -> None:
    assert command_paths(tmp_path, "make") == {}
    command = "physicnet make --raw data/raw\n  --made made"
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"make": {"cmd": command}}}))
    assert command_paths(tmp_path, "make") == {"raw": "data/raw", "made": "made"}
    assert command_paths(tmp_path, "sum") == {}


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("code.py", "other", True),
        ("raw/a-1", "other", False),
        ("made/a-1", "other", False),
        ("params.yaml", "make: {size: 4}", False),
        ("dvc.lock", "", False),
    ],
)
def test_outputs_are_as_recorded_while_data_and_parameters_are(
    project: Path, tmp_path: Path, path: str, text: str, expected: bool
) -> None:
    subprocess.run(["cp", "-r", f"{project}/.", str(tmp_path)], check=True)
    assert holds_outputs(tmp_path, "make")
    (tmp_path / path).write_text(text)
    assert holds_outputs(tmp_path, "make") is expected


def test_outputs_that_are_missing_are_not_as_recorded(project: Path, tmp_path: Path) -> None:
    subprocess.run(["cp", "-r", f"{project}/.", str(tmp_path)], check=True)
    (tmp_path / "total").unlink()
    assert not holds_outputs(tmp_path, "sum")


def test_the_hash_of_a_file_is_its_md5(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert md5_of(tmp_path / "file") == "900150983cd24fb0d6963f7d28e17f72"


def test_git_state_tells_commit_and_changes_of_the_given_paths(tmp_path: Path) -> None:
    assert git_state(tmp_path, ["code"]) == {}
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for name in ("code", "notes"):
        (tmp_path / name).write_text("1")
    for command in (["init", "-q"], ["add", "code", "notes"], [*identity, "commit", "-qm", "first"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    (tmp_path / "notes").write_text("2")
    clean = git_state(tmp_path, ["code"])
    assert clean["git.dirty"] == "false"
    assert len(clean["git.commit"]) == 40
    (tmp_path / "code").write_text("2")
    assert git_state(tmp_path, ["code"])["git.dirty"] == "true"


def _key(root: Path) -> str:
    entry = declared_entry(root, "make")
    assert entry is not None
    return entry.key
