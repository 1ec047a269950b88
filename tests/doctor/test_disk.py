import os
from pathlib import Path

import pytest
import yaml
from mounting import read_only, small_disk

from physicnet.doctor import disk
from physicnet.doctor.disk import check, needs, room
from physicnet.doctor.findings import Level

MIB = 2**20


def record(folder: Path, **outputs: int) -> None:
    """A project whose last run has left outputs of these sizes in MiB."""
    outs = [{"path": f"data/{name}", "md5": "0" * 32} for name in outputs]
    (folder / "dvc.lock").write_text(yaml.safe_dump({"stages": {"train": {"cmd": "true", "outs": outs}}}))
    (folder / "data").mkdir()
    for name, size in outputs.items():
        (folder / "data" / name).write_bytes(bytes(size * MIB))


def test_a_run_needs_room_for_its_outputs_and_their_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert needs(tmp_path) == (disk.LEAST, 0)
    monkeypatch.setattr(disk, "LEAST", 0)
    record(tmp_path, fields=2, model=1)
    (tmp_path / "data" / "other").write_bytes(bytes(MIB))
    assert needs(tmp_path) == (6 * MIB, 4)


def test_a_full_disk_is_an_error_and_a_narrow_one_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "LEAST", 0)
    with small_disk(tmp_path / "disk", mib=16) as folder:
        monkeypatch.chdir(folder)
        record(folder, fields=2)
        assert {finding.level for finding in check()} == {Level.OK}
        (folder / "ballast").write_bytes(bytes(7 * MIB))
        assert [finding.level for finding in check()] == [Level.WARNING, Level.OK]
        (folder / "more").write_bytes(bytes(4 * MIB))
        full, _ = check()
        monkeypatch.undo()
    assert full.level is Level.ERROR
    assert "3 MiB are free for the project" in full.seen
    assert full.seen.endswith("a run from nothing needs up to 4 MiB")
    assert "dvc gc" in full.remedy


def test_too_few_inodes_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "LEAST", 0)
    with small_disk(tmp_path / "disk", mib=16, files=8) as folder:
        monkeypatch.chdir(folder)
        record(folder, fields=0, model=0)
        _, finding = check()
        monkeypatch.undo()
    assert finding.level is Level.ERROR
    assert finding.seen.endswith("more files can be made, a run from nothing makes up to 4")


def test_a_disk_for_reading_alone_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with small_disk(tmp_path / "disk", mib=16) as folder:
        monkeypatch.chdir(folder)
        record(folder, fields=0)
        read_only(folder)
        barred, *_ = check()
        monkeypatch.undo()
    assert barred.level is Level.ERROR
    assert barred.seen == "., data: no permission to write, or mounted read-only"


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_that_may_not_be_written_to_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    record(tmp_path, fields=0)
    (tmp_path / "data").chmod(0o500)
    barred, *_ = check()
    (tmp_path / "data").chmod(0o700)
    assert barred.seen == "data: no permission to write, or mounted read-only"


def test_the_numbers_of_a_file_system_that_counts_no_inodes_are_not_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Uncounted:
        f_files = 0

    monkeypatch.setattr(os, "statvfs", lambda _: Uncounted())
    assert disk.inodes(tmp_path, 4).level is Level.NOT_CHECKED


def test_what_the_room_is_for_is_said(tmp_path: Path) -> None:
    assert f"for DVC's cache in {tmp_path}" in room(tmp_path, 0, "DVC's cache").seen
