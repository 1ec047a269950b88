import os
import shutil
import subprocess
import sys
from pathlib import Path

import dvc_folder
import pytest
import yaml
from dvc_project import STAGES
from mounting import small_disk

from flows.doctor.data import check_cache, check_outputs
from physicnet.doctor.findings import Finding, Level


def dvc(*arguments: str) -> str:
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose stages have run; one of them makes a folder."""
    folder = tmp_path_factory.mktemp("made")
    many = {"many": {"cmd": "mkdir -p many; seq 3 | split -l 1 - many/", "outs": ["many"]}}
    (folder / "raw").write_text("\n")
    (folder / "params.yaml").write_text("score: 1")
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES | many}))
    dvc_folder.init(folder)
    subprocess.run([sys.executable, "-m", "dvc", "repro", "--quiet"], cwd=folder, check=True)
    return folder


@pytest.fixture
def done(_made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    shutil.copytree(_made, folder)
    monkeypatch.chdir(folder)
    return folder


def objects(project: Path) -> list[Path]:
    return sorted(path for path in (project / ".dvc" / "cache" / "files" / "md5").rglob("*") if path.is_file())


def object_of(project: Path, content: bytes) -> Path:
    (path,) = [path for path in objects(project) if path.read_bytes() == content]
    return path


def damage(path: Path) -> None:
    """Exchange the content, as a failing disk would: time, size and permission stay."""
    about = path.stat()
    path.chmod(0o644)
    path.write_bytes(b"x" * about.st_size)
    path.chmod(about.st_mode)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def only(findings: list[Finding]) -> Finding:
    (finding,) = findings
    return finding


def test_a_sound_cache_and_the_outputs_of_the_last_run_are_well(done: Path) -> None:
    cache, outputs = only(list(check_cache())), only(list(check_outputs()))
    assert (cache.level, outputs.level) == (Level.OK, Level.OK)
    assert cache.seen == "6 objects of 3 outputs have the content that their names tell"
    assert outputs.seen == "all 4 in the folder are what dvc.lock names"


def test_nothing_is_known_of_a_project_that_has_not_run(project: Path) -> None:
    assert only(list(check_cache())).level is Level.NOT_CHECKED
    assert list(check_outputs()) == []


def test_a_fresh_clone_has_no_cache_which_is_one_warning(done: Path) -> None:
    shutil.rmtree(done / ".dvc" / "cache")
    finding = only(list(check_cache()))
    assert (finding.level, finding.seen) == (Level.WARNING, "it holds nothing of what dvc.lock names")


def test_a_damaged_object_is_named_stays_and_is_mended_by_the_remedy(done: Path) -> None:
    damaged = object_of(done, b"2\n")
    assert "up to date" in dvc("status")
    damage(damaged)
    assert "up to date" in dvc("status")  # DVC does not see it
    finding = only(list(check_cache()))
    name = str(damaged.relative_to(done))
    assert finding.level is Level.ERROR
    assert finding.seen.startswith("of many (stage many) 1 objects are damaged")
    assert finding.remedy == f"rm -f {name}; dvc fetch many where a remote has it, else dvc repro many"
    assert damaged.exists()
    damaged.unlink()
    dvc("repro", "many")
    assert only(list(check_cache())).level is Level.OK


def test_a_damaged_list_of_a_folder_is_named(done: Path) -> None:
    (listed,) = [path for path in objects(done) if path.name.endswith(".dir")]
    damage(listed)
    assert only(list(check_cache())).level is Level.ERROR


def test_a_missing_object_is_a_warning_and_comes_back_with_the_remedy(done: Path) -> None:
    missing = object_of(done, b"2\n")
    missing.unlink()
    finding = only(list(check_cache()))
    assert finding.level is Level.WARNING
    assert finding.seen.startswith("of many (stage many) 1 objects are missing: ")
    dvc("repro", "many")
    assert missing.exists()


def test_outputs_that_are_not_those_of_the_last_run_are_named(done: Path) -> None:
    assert "up to date" in dvc("status")
    damage(done / "many" / "aa")
    assert "up to date" in dvc("status")  # DVC believes the time and the size
    (done / "made").unlink()
    made, many = check_outputs()
    assert made.seen == "made (stage make) is not there"
    assert many.seen == "many (stage many) is another one than dvc.lock names"
    assert many.remedy.startswith("dvc checkout many brings back")
    assert {made.level, many.level} == {Level.WARNING}


def test_the_room_of_a_cache_on_another_disk_is_looked_at(done: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", mib=1) as disk:
        dvc("cache", "dir", str(disk / "cache"))
        space, _ = check_cache()
    assert space.level is Level.ERROR
    assert "for DVC's cache in" in space.seen
