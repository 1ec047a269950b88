"""Each stage is killed at random moments, with its DVC or without, and run again: the outputs are those of no kill."""

import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import yaml
from mounting import small_disk
from tiny_project import STAGES, Finished, environment, make_project, run
from waiting import wait_until

KILLS = {"ingest": 3, "normalize": 3, "crops": 3, "codebook": 4, "train": 4, "evaluate": 3}
TRIES = 20  # for these kills: some stages end before they are struck
SEED = 0
VICTIMS = ("stage", "dvc", "both")


def outputs(project: Path) -> dict[str, str]:
    lock = yaml.safe_load((project / "dvc.lock").read_text())
    return {out["path"]: out["md5"] for stage in lock["stages"].values() for out in stage["outs"]}


def stage_of(dvc: subprocess.Popen[bytes], stage: str) -> psutil.Process | None:
    """The process of a stage, once its command has become one."""
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(dvc.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                words = process.cmdline()
                if len(words) > 2 and words[1].endswith("physicnet") and words[2] == stage:
                    return process
    return None


def mend(project: Path) -> None:
    """As the flows do before they run DVC."""
    run(project, sys.executable, "-c", "from flows.paths_in_use import mend; mend()")


class Killer:
    """Runs one stage of a project by force and kills it after a share of the time that it takes."""

    def __init__(self, project: Path, seconds: dict[str, float]) -> None:
        self.project = project
        self.seconds = seconds

    def strike(self, stage: str, share: float, victim: str) -> bool:
        """Whether the stage was killed before its end."""
        command = ["dvc", "repro", "--force", "--single-item", stage]
        where = {"cwd": self.project, "env": environment(self.project, is_mirrored=False)}
        dvc = subprocess.Popen(command, **where, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert wait_until(lambda: dvc.poll() is not None or stage_of(dvc, stage) is not None, seconds=60)
        process = stage_of(dvc, stage) if dvc.poll() is None else None
        if process is None:
            mend(self.project)  # DVC may have stopped at its list of paths in use, which a kill had cut off
            return False
        time.sleep(share * self.seconds[stage])
        struck = process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        for each in {"stage": [process], "dvc": [dvc], "both": [dvc, process]}[victim]:
            each.send_signal(signal.SIGKILL) if each is dvc or struck else None
        dvc.wait(60)
        psutil.wait_procs([process], timeout=60)
        return struck


def test_stages_that_are_killed_and_run_again_give_the_same_outputs(finished: Finished, tmp_path: Path) -> None:
    make_project(tmp_path)
    rng, killer, killed = np.random.default_rng(SEED), Killer(tmp_path, finished.seconds), dict.fromkeys(STAGES, 0)
    for stage in STAGES:
        for _ in range(TRIES):
            if killed[stage] == KILLS[stage]:
                break
            killed[stage] += killer.strike(stage, rng.uniform(0, 0.8), str(rng.choice(VICTIMS)))
        mend(tmp_path)
        run(tmp_path, "dvc", "repro", "--force", "--single-item", stage, is_mirrored=False)
    print(f"killed {sum(killed.values())} times, seed {SEED}: {killed}")
    assert sum(killed.values()) >= 20
    assert outputs(tmp_path) == outputs(finished.folder)
    assert "up to date" in run(tmp_path, "dvc", "status")
    left = [path for path in tmp_path.rglob("*.partial*") if ".venv" not in path.parts]
    assert left == []


FULL = ("ingest", "codebook")  # the stages that begin on a full disk; a longer list only takes longer
ROOM = 48  # MiB, in which the project fits several times over


def test_stages_that_a_full_disk_stops_say_so_and_give_the_same_outputs_when_there_is_room(
    finished: Finished, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", mib=ROOM) as disk:
        project = disk / "project"
        project.mkdir()
        make_project(project)
        for stage in STAGES[: STAGES.index(FULL[-1]) + 1]:
            if stage in FULL:
                done = outputs(project) if (project / "dvc.lock").exists() else {}
                assert "No space left on device" in begun_without_room(project, stage, disk / "ballast")
                assert (outputs(project) if (project / "dvc.lock").exists() else {}) == done
                mend(project)
            run(project, "dvc", "repro", "--single-item", stage, is_mirrored=False)
        assert outputs(project).items() <= outputs(finished.folder).items()
        assert "models/codebook.safetensors" in outputs(project)
        assert list(project.rglob("*.partial*")) == []


def begun_without_room(project: Path, stage: str, ballast: Path) -> str:
    """What a stage says that begins when the disk is full, and fails."""
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(2**12))
    command = ["dvc", "repro", "--single-item", stage]
    env = environment(project, is_mirrored=False)
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True)
    ballast.unlink()
    assert done.returncode != 0
    return done.stdout + done.stderr
