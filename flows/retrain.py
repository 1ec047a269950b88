"""Retraining as a flow: when enough is new, everything is brought up to date, and the better model wins.

In this order: what others have computed is fetched; new observations are ingested; the rule `retrain` of params.yaml
says whether they are worth a training; `dvc.yaml` is walked; the challenger is judged; results are pushed, and
committed where params.yaml names a branch. `python -m flows.retrain` does it once, without a server.
"""

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dvc.repo import Repo
from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.branch import commit
from flows.params_text import replaced
from flows.pipeline import StageFailedError, Transcript, patiently, pipeline
from flows.process import ProcessGroups
from flows.retrained import Retrained, read_decision
from flows.states import skipped
from physicnet.config import ModelConfig, Params, load_params
from physicnet.data.novelty import frames_since
from physicnet.digest import content_hash
from physicnet.fields import written_whole
from physicnet.lineage import command_paths
from physicnet.process import end_cleanly_on_sigterm

FIRST = "ingest"  # the stage that takes in observations
LOCK = Path(".physicnet") / "retrain.lock"
CHAMPION = Path("models") / "champion.safetensors"  # of a warm start
RECORDED = ("dvc.lock", "params.yaml", "metrics.json", "reports/promotion.json")
AGAIN = (30, 120, 600)  # seconds before what needs a server is tried again
PATIENCE = 3600.0  # seconds that a command beside the stages may take


@flow(name="retrain")
def retrain() -> State:
    """Retrain if enough is new. The state is named Promoted or Kept by what was decided, Skipped if nothing was done.

    Raises:
        StageFailedError: if a stage, or a command of DVC or the registry, fails.
    """
    with alone() as other:
        if other is not None:
            return skipped(f"another retrain is at work here (process {other})")
        return _retrain(load_params(Path("params.yaml")))


def _retrain(params: Params) -> State:
    remote, rule = default_remote(), params.retrain
    with ProcessGroups() as groups:
        if remote is not None:
            fetch(groups)
        did = Retrained.begin()
        did.add(pipeline(until=FIRST, stage_minutes=rule.stage_minutes))
        reason = too_little(params)
        if reason is None:
            if rule.warm_start:
                start_from_champion()
            did.add(pipeline(after=FIRST, stage_minutes=rule.stage_minutes))
        if reason is None or not is_judged():
            judge(groups)
            did.end()
            from flows.report import publish  # with what draws

            publish(did)
            state: State = Completed(name="Promoted" if did.is_promoted else "Kept", message=did.summary)
        else:
            state = skipped(reason)
        # A retrain before this one may have been cut short here.
        if remote is not None:
            push(groups)
        if rule.branch is not None:
            made = commit(rule.branch, recorded(params), str(state.message))
            get_run_logger().info("branch %s: %s", rule.branch, made)
    return state


def recorded(params: Params) -> tuple[str, ...]:
    """The files that a commit takes, also those that are not there yet."""
    return (*RECORDED, f"{params.verify.table}.dvc")


@contextmanager
def alone() -> Iterator[int | None]:
    """Keep other retrains out of this folder; yields None, or the process of the one that is at work already."""
    LOCK.parent.mkdir(exist_ok=True)
    with LOCK.open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            yield int(file.read() or 0)
            return
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield None


def too_little(params: Params) -> str | None:
    """Why the observations that came since the last training are not worth another one; None if they are.

    They are always when something else has changed: parameters, code, or an output that is gone.
    """
    changes = patiently(changed, time.sleep)
    if not changes:
        return "nothing is new: all stages are up to date"
    paths = {name: Path(path) for name, path in command_paths(Path.cwd(), "normalize").items()}
    if changes != {paths["fields"].as_posix()}:
        return None
    new, least = frames_since(paths["fields"], paths["statistics"]), params.retrain.minimum_new_frames
    if new >= least:
        return None
    return f"too little is new: {new} frames since the last training; retrain.minimum_new_frames asks for {least}"


def is_judged() -> bool:
    """Whether there is no model, it is the champion, or a decision about it was made.

    It is not when the last retrain ended before, or when the registry could not be reached.
    """
    checkpoint = Path(command_paths(Path.cwd(), "evaluate").get("checkpoint", ""))
    if not checkpoint.is_file() or read_decision():
        return True
    from physicnet.registry import champion_sha256  # with torch
    from physicnet.tracking.store import Store

    return champion_sha256(Store(Path.cwd())) == content_hash(checkpoint)


def changed() -> set[str]:
    """The files, parameters and commands that make a stage stale, as DVC names them."""
    with Repo(".") as repo:
        status = repo.status()
        stages = {stage.addressing for stage in repo.index.stages if stage.cmd}  # a tracked file makes nothing stale
    reasons = [reason for name, told in status.items() if name in stages for reason in told]
    named = [paths for reason in reasons if isinstance(reason, dict) for paths in reason.values()]
    return {name for paths in named for name in paths} | {reason for reason in reasons if isinstance(reason, str)}


def default_remote() -> str | None:
    """The name of the remote that DVC is configured to use, if any."""
    with Repo(".") as repo:
        name: str | None = repo.config["core"].get("remote")
    return name


@task(cache_policy=NO_CACHE)
def fetch(groups: ProcessGroups) -> None:
    """Bring what others have computed into the cache; the folder stays as it is."""
    try:
        _must(groups, "dvc", "fetch", "--run-cache")
    except StageFailedError as error:
        get_run_logger().warning("%s: what is missing will be computed here", error)


@task(cache_policy=NO_CACHE, retries=len(AGAIN), retry_delay_seconds=list(AGAIN))
def push(groups: ProcessGroups) -> None:
    """Send all results to the remote."""
    _must(groups, "dvc", "push", "--run-cache")


@task(cache_policy=NO_CACHE)
def judge(groups: ProcessGroups) -> None:
    """Compare the challenger with the champion, after MLflow was told what it may have missed.

    Raises:
        StageFailedError: if no decision comes of it.
    """
    _must(groups, "physicnet", "mirror")
    _must(groups, "physicnet", "promote")
    if not is_judged():
        raise StageFailedError(
            "the registry does not have this model as its challenger, so it was not judged: dvc repro --force "
            "--single-item evaluate registers it, and the next retrain judges it"
        )


@task(cache_policy=NO_CACHE)
def start_from_champion() -> None:
    """Write the champion's checkpoint to a file of its own, and into params.yaml that training starts from it.

    Raises:
        StageFailedError: if its weights cannot mean the same in a model as params.yaml has it.
    """
    from physicnet.registry import copy_champion  # with torch
    from physicnet.tracking.store import Store

    sha256 = copy_champion(Store(Path.cwd()), CHAMPION)
    if sha256 is None:
        get_run_logger().info("there is no champion yet: training starts from the codebook")
        return
    differing = unlike(load_params(Path("params.yaml")).model)
    if differing:
        raise StageFailedError(
            f"training cannot start from the champion, a model of another kind ({', '.join(differing)}); write "
            "retrain.warm_start: false and train.init_from: null in params.yaml until a model that was trained from "
            "the codebook is the champion"
        )
    path = Path("params.yaml")
    value = f"{{checkpoint: {CHAMPION.as_posix()}, sha256: {sha256}}}"
    with written_whole(path) as partial:
        partial.write_text(replaced(path.read_text(encoding="utf-8"), ("train", "init_from"), value), encoding="utf-8")


def unlike(ours: ModelConfig) -> list[str]:
    """In what the champion's checkpoint is another kind of model than that of params.yaml."""
    from physicnet.checkpoint import load_checkpoint  # torch takes seconds, which cold starts need not wait for
    from physicnet.training.start import FREE

    theirs = load_checkpoint(CHAMPION).metadata["model"]
    kept = {name: value for name, value in ours.model_dump(mode="json").items() if name not in FREE}
    return [
        f"model.{name}: {theirs.get(name, 'none')} there, {value} here"
        for name, value in kept.items()
        if theirs.get(name) != value
    ]


def _must(groups: ProcessGroups, *command: str) -> None:
    """Run a command, its output going to the log.

    Raises:
        StageFailedError: if it fails.
    """
    logger, transcript = get_run_logger(), Transcript("")

    def on_line(line: str) -> None:
        transcript.read(line)
        logger.info(line)

    status = groups.run(command, {}, on_line, seconds=PATIENCE)
    if status != 0:
        raise StageFailedError(transcript.reason(" ".join(command), status))


if __name__ == "__main__":
    end_cleanly_on_sigterm()
    sys.exit(0 if retrain(return_state=True).is_completed() else 1)
