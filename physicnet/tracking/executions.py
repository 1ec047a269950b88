"""Executions of the pipeline and the stages below them: whose process a run is, how it ended, what it is linked to.

One parent run stands for one execution: one `dvc repro`, one flow run, or one stage started by hand. A child run stands
for one stage that really ran.
"""

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from physicnet.config import load_params
from physicnet.lineage import StageEntry, environment, git_state, params_now_and_committed
from physicnet.process import is_alive
from physicnet.tracking import holdings
from physicnet.tracking.store import PARENT, Store

if TYPE_CHECKING:
    from physicnet.tracking.store import Run

REPLAYED = "physicnet.replayed"  # tag: when a run was made from files, so that its times are not those of the stage
RESUMED = "physicnet.resumed"  # tag: how often the stage was started again after it was killed
SECONDS = "physicnet.seconds"  # tag: how long the stage worked; what was killed counts until its last mirrored epoch
LEFT = "physicnet.left"  # tag: the executions in which the stage was killed before
OWNER_VARIABLE = "PHYSICNET_EXECUTION"  # set by the flow, for its stages: the owner of their execution
# Sections of params.yaml that no stage reads: no run is made of them.
UNREAD = {"promote", "retrain", "collect", "forecast", "verify"}
LONGEST_NAME = 100  # characters of the name of an execution


@dataclass(frozen=True)
class Owner:
    """Whose an execution is: the process below which its stages run, as tags, and what it says of it.

    With other `more` it is another execution: a process may walk the pipeline several times.
    """

    process: dict[str, str]
    name: str | None = None  # None: the execution is named by its commit and parameters
    more: dict[str, str] = field(default_factory=dict)  # tags

    @classmethod
    def told(cls) -> "Owner | None":
        """The one that the environment tells of, for a stage of a flow; None otherwise."""
        return cls(**json.loads(os.environ[OWNER_VARIABLE])) if OWNER_VARIABLE in os.environ else None

    @property
    def environment(self) -> dict[str, str]:
        """What tells the stages below."""
        return {OWNER_VARIABLE: json.dumps(asdict(self))}


def open_execution(store: Store, owner: Owner) -> str:
    """The owner's parent run: found, or created with all parameters and the pipeline. Several may ask at once."""
    tags = owner.process | git_state(store.root, ["dvc.yaml", "params.yaml"]) | owner.more
    with store.lock:
        name = owner.name or _execution_name(store.root, tags.get("git.commit", ""))
        execution = " ".join([owner.process["physicnet.process"], *owner.more.values()])
        run_id = store.find_or_create({"physicnet.execution": execution}, name, tags)
    params = holdings.flatten(load_params(store.root / "params.yaml").model_dump(exclude=UNREAD), ".")
    if params.keys() <= store.client.get_run(run_id).data.params.keys():
        return run_id
    close_abandoned(store)
    for name in ("dvc.yaml", "params.yaml"):
        holdings.keep_text(store, run_id, name)
    store.client.log_text(run_id, environment(), "environment.txt")
    holdings.log_params(store, run_id, params)
    return run_id


def maker(store: Store, entry: StageEntry) -> "Run | None":
    """The latest run of a stage, with these very inputs, that has not failed and keeps no other outputs."""
    condition = f"tags.`dvc.stage` = '{entry.name}' and tags.`dvc.key` = '{entry.key}'"
    for run in store.client.search_runs([store.experiment_id], f"{condition} and attributes.status != 'FAILED'"):
        if all(run.data.tags.get(f"dvc.out.{path}", md5) == md5 for path, md5 in entry.outs.items()):
            return run
    return None


def resume(store: Store, entry: StageEntry, tags: Mapping[str, str]) -> str | None:
    """Go on with the run of a stage that was killed: give it `tags`, among them its new parent; return its id.

    None if the latest run of the stage with these inputs was not killed. The parents that it leaves stay known.
    """
    run = maker(store, entry)
    if run is None or not _was_killed(run):
        return None
    before = run.data.tags
    marks = {RESUMED: str(int(before.get(RESUMED, "0")) + 1)}
    if before[PARENT] != tags[PARENT]:
        marks[LEFT] = f"{before.get(LEFT, '')} {before[PARENT]}".strip()
    store.client.update_run(run.info.run_id, "RUNNING")
    store.tag(run.info.run_id, {**tags, **marks})
    return str(run.info.run_id)


def link_inputs(store: Store, run_id: str, inputs: Mapping[str, str]) -> bool:
    """Tag a run with those that made its inputs, where one is known: `inputs` are paths with their hashes."""
    known = store.client.get_run(run_id).data.tags
    links: dict[str, str] = {}
    for path, md5 in inputs.items():
        made = None if f"dvc.dep.{path}.run" in known else store.find({f"dvc.out.{path}": md5})
        if made is not None:
            links[f"dvc.dep.{path}.run"] = made.info.run_id
    return store.tag(run_id, links)


def link_stages(store: Store, run_id: str, entries: Mapping[str, StageEntry]) -> bool:
    """Tag an execution with each stage's key and with the child run, of this execution or an earlier one, that
    made the stage's outputs; keep dvc.lock, which tells the data where git cannot."""
    links = {f"dvc.{name}.key": entry.key for name, entry in entries.items()}
    known = store.client.get_run(run_id).data.tags
    for name, entry in entries.items():
        is_linked = f"dvc.{name}.run" in known and known.get(f"dvc.{name}.key") == entry.key
        made = None if is_linked else maker(store, entry)
        if made is not None:
            links[f"dvc.{name}.run"] = made.info.run_id
    is_new = store.tag(run_id, links)
    return holdings.keep_text(store, run_id, "dvc.lock") or is_new


def close_abandoned(store: Store) -> None:
    """End the runs whose process on this machine is gone: stages as killed, executions by their stages' ends."""
    condition = f"attributes.status = 'RUNNING' and tags.`physicnet.host` = '{socket.gethostname()}'"
    runs = store.client.search_runs([store.experiment_id], condition)
    gone = [run for run in runs if not is_running(run)]
    for run in sorted(gone, key=lambda run: PARENT not in run.data.tags):
        store.end(run.info.run_id, "KILLED" if PARENT in run.data.tags else outcome(store, run.info.run_id))


def is_running(run: "Run") -> bool:
    """Whether the process of a run works on this machine."""
    is_here = run.data.tags.get("physicnet.host") == socket.gethostname()
    return run.info.status == "RUNNING" and is_here and _is_running(run.data.tags["physicnet.process"])


def outcome(store: Store, parent_id: str) -> str:
    """How an execution ended, by its stages' ends."""
    statuses = {child.info.status for child in store.children(parent_id)}
    return "FINISHED" if statuses == {"FINISHED"} else "FAILED"


def _execution_name(root: Path, commit: str) -> str:
    """The commit, and what of params.yaml is no longer as committed there."""
    now, committed = (holdings.flatten(params, ".") for params in params_now_and_committed(root))
    changed = [f"{name}={value}" for name, value in now.items() if name not in committed or committed[name] != value]
    name = f"pipeline {commit[:7]}".strip() + (": " + ", ".join(changed) if changed else "")
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def _was_killed(run: "Run") -> bool:
    is_here = run.data.tags.get("physicnet.host") == socket.gethostname()
    is_gone = run.info.status == "RUNNING" and is_here and not is_running(run)
    return run.info.status == "KILLED" or is_gone


def process_tags(process: psutil.Process) -> dict[str, str]:
    """Tags that tell which process a run belongs to, also after its number was given to another one."""
    return {"physicnet.host": socket.gethostname(), "physicnet.process": f"{process.pid}@{process.create_time():.2f}"}


def _is_running(tag: str) -> bool:
    pid = int(tag.split("@")[0])
    try:
        process = psutil.Process(pid)
        return process_tags(process)["physicnet.process"] == tag and is_alive(process)
    except psutil.NoSuchProcess:
        return False
