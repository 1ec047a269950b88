"""What the history of runs tells: how test scores compare, and what an execution was made of."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from string import ascii_uppercase
from typing import TYPE_CHECKING

from rich.console import Console

from physicnet.config import EvaluateConfig
from physicnet.evaluation.comparison import print_comparison
from physicnet.evaluation.scored import ScoredRun, read_origins
from physicnet.lineage import declared_stages
from physicnet.tracking import executions
from physicnet.tracking.executions import REPLAYED, RESUMED, SECONDS
from physicnet.tracking.store import PARENT, HistoryError, Store

if TYPE_CHECKING:
    from physicnet.tracking.store import Run

ORIGINS = "origins.csv"
SHORT = 8  # characters of an id that tell runs apart on the screen
COLUMN = 11  # characters for the name of a stage or section


def compare(store: Store, references: Sequence[str], config: EvaluateConfig, console: Console) -> None:
    """Print the tests of runs, the first beside the others.

    Raises:
        HistoryError: if a run is not there, has no test scores, or has those of another one.
        DataError: if their test data differ.
    """
    if not 2 <= len(references) <= len(ascii_uppercase):
        raise HistoryError(f"compare takes 2 to {len(ascii_uppercase)} runs, and was given {len(references)}")
    sources: dict[str, str] = {}
    runs: list[ScoredRun] = []
    for label, reference in zip(ascii_uppercase, references, strict=False):
        run = store.run(reference)
        source = holder(store, run)
        if source.info.run_id in sources:
            earlier = sources[source.info.run_id]
            raise HistoryError(f"{earlier} and {reference} have the same test scores, those of {called(source)}")
        sources[source.info.run_id] = reference
        runs.append(tested(store, label, run, source))
    print_comparison(runs, config, console)


def holder(store: Store, run: "Run") -> "Run":
    """The run that holds the test scores of `run`: itself, or the evaluation of an execution.

    Raises:
        HistoryError: if it cannot have test scores.
    """
    stage, tags = run.data.tags.get("dvc.stage"), run.data.tags
    if stage in ("train", "evaluate"):
        return run
    if stage is not None:
        raise HistoryError(
            f"{called(run)} is a run of the stage {stage}, which has no test scores: name a training, an evaluation or "
            f"the execution that it belongs to, {tags.get(PARENT, 'which is not known')}"
        )
    own = [child for child in store.children(run.info.run_id) if child.data.tags.get("dvc.stage") == "evaluate"]
    if own:
        return own[-1]
    if "dvc.evaluate.run" in tags:
        return store.run(tags["dvc.evaluate.run"])
    raise HistoryError(
        f"{called(run)} ({run.info.status}) has no evaluation: dvc repro brings all stages up to date; compare the "
        "execution that it makes"
    )


def tested(store: Store, label: str, run: "Run", source: "Run") -> ScoredRun:
    """A run with its settings and the table of its test, which `source` holds.

    Raises:
        HistoryError: if the table is not there.
        DataError: if it is not such a table.
    """
    text = store.read_text(source, ORIGINS)
    if text is None:
        raise HistoryError(
            f"{called(source)} ({source.info.status}) has no test scores: {ORIGINS} is not in "
            f"{source.info.artifact_uri}. It was not evaluated to the end, the files were moved or deleted, or it is "
            "older than that table; dvc repro --force --single-item evaluate tests the present model anew"
        )
    commit = run.data.tags.get("git.commit", "unknown")[:7]
    is_dirty = run.data.tags.get("git.dirty") == "true"
    about = f"{_time(run.info.start_time)}  git {commit}{' + changes' * is_dirty}"
    if source is not run:
        about += f"  scores of {called(source)}"
    origins = read_origins(text, f"{ORIGINS} of {called(source)}")
    return ScoredRun(label, called(run), about, settings(store, run, source), origins)


def settings(store: Store, run: "Run", source: "Run") -> dict[str, str]:
    """The parameters that made a test: of the execution, of the training that it used, of the evaluation."""
    parent = _known(store, run.data.tags.get(PARENT, run.info.run_id))
    training = _known(store, parent.data.tags.get("dvc.train.run")) if parent else None
    layers = [layer for layer in (parent, training, source) if layer is not None]
    return {name: value for layer in layers for name, value in layer.data.params.items()}


def called(run: "Run") -> str:
    """What to call a run: its stage, or that it is an execution, and the beginning of its id."""
    return f"{run.data.tags.get('dvc.stage', 'execution')} {run.info.run_id[:SHORT]}"


def explain(store: Store, reference: str, console: Console) -> None:
    """Print what an execution, or the one that a stage's run belongs to, was made of.

    Raises:
        HistoryError: if the run, or its execution, is not there.
    """
    run = store.run(reference)
    executions.close_abandoned(store)
    execution = store.run(run.data.tags.get(PARENT, run.info.run_id))
    for line in (*_head(execution), *_stages(store, execution), *_parameters(execution.data.params)):
        style = "" if line.startswith(" ") else "bold"
        console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


def _head(execution: "Run") -> Iterator[str]:
    tags, name = execution.data.tags, execution.info.run_name
    yield f"Execution {execution.info.run_id}"
    yield _entry("name", name)
    yield _entry("status", f"{execution.info.status}, {_period(execution)}")
    yield _entry(
        "git", tags.get("git.commit", f"unknown: {'the code has changed' if REPLAYED in tags else 'outside git'}")
    )
    if "git.commit" in tags:
        is_dirty = tags.get("git.dirty") == "true"
        yield _entry("", f"dvc.yaml and params.yaml {'differed from the commit' if is_dirty else 'as committed'}")


def _stages(store: Store, execution: "Run") -> Iterator[str]:
    """Say of each stage which run made its outputs, of this execution or an earlier one, and what it read."""
    tags = execution.data.tags
    own = {child.data.tags.get("dvc.stage", "?"): child for child in store.children(execution.info.run_id)}
    keys = {match[1]: key for tag, key in tags.items() if (match := re.fullmatch(r"dvc\.(.+)\.key", tag))}
    order = declared_stages(store.root)
    names = sorted({*own, *keys}, key=lambda name: (order.index(name) if name in order else len(order), name))
    yield "Stages"
    for name in names:
        run = own.get(name) or _known(store, tags.get(f"dvc.{name}.run"))
        yield _entry(name, _how(run, is_own=name in own))
        if name in keys:
            yield _entry("", f"key        {keys[name]}")
        if run is not None:
            yield from _details(run, execution)
    if not keys:
        yield _entry("", "Nothing is recorded of stages that were unchanged: the execution has not ended with results.")


def _how(run: "Run | None", *, is_own: bool) -> str:
    if run is None:
        return "unchanged; the run that made its outputs is not in this store"
    if is_own:
        return f"ran here: {run.info.status}, {_period(run)}"
    return f"unchanged: {_period(run) if REPLAYED in run.data.tags else f'made {_time(run.info.start_time)}'}"


def _details(run: "Run", execution: "Run") -> Iterator[str]:
    """The run's id and length, its execution and commit where they are others, the hashes of the data that it read."""
    tags = run.data.tags
    yield _entry("", f"run        {run.info.run_id}")
    yield _entry("", f"took       {_duration(run)}")
    if tags.get(PARENT) != execution.info.run_id:
        yield _entry("", f"execution  {tags.get(PARENT, 'unknown')}")
    if tags.get("git.commit") != execution.data.tags.get("git.commit"):
        yield _entry("", f"git        {tags.get('git.commit', 'unknown')}")
    if tags.get("git.dirty") == "true":
        yield _entry("", "code or parameters were not as committed")
    hashes = {tag.removeprefix("dvc.dep."): md5 for tag, md5 in tags.items() if tag.startswith("dvc.dep.")}
    files = {path: md5 for path, md5 in sorted(hashes.items()) if path.removesuffix(".run") not in {*hashes} - {path}}
    for path, md5 in files.items():
        yield _entry("", f"reads      {md5:<36}  {path}")


def _parameters(params: Mapping[str, str]) -> Iterator[str]:
    sections: dict[str, dict[str, str]] = {}
    for name, value in params.items():
        section, _, rest = name.partition(".")
        sections.setdefault(section, {})[rest] = value
    yield "Parameters" if sections else "No parameters are recorded"
    for section, values in sections.items():
        width = max(map(len, values))
        for index, (name, value) in enumerate(values.items()):
            yield _entry("" if index else section, f"{name:<{width}}  {value}")


def _entry(name: str, text: str) -> str:
    return f"  {name:<{COLUMN}}{text}"


def _known(store: Store, run_id: str | None) -> "Run | None":
    """The run of that id, None if there is no such run any more."""
    try:
        return store.run(run_id) if run_id else None
    except HistoryError:
        return None


def _duration(run: "Run") -> str:
    """How long a stage worked: of one that was resumed, the parts that were mirrored together."""
    tags = run.data.tags
    if SECONDS not in tags:
        return "not known"
    parts = f" in {int(tags[RESUMED]) + 1} parts" if RESUMED in tags else ""
    return f"{tags[SECONDS]} s{parts}{' so far' if run.info.status == 'RUNNING' else ''}"


def _period(run: "Run") -> str:
    if REPLAYED in run.data.tags:
        return f"replayed from files {_time(run.info.start_time)}; when it ran is not known"
    if run.info.end_time is None or run.info.status == "RUNNING":
        return f"since {_time(run.info.start_time)}"
    start, end = _time(run.info.start_time), _time(run.info.end_time)
    day = len("2026-01-31 ")
    return f"{start[: day + 5]} to {end[day:] if start[:day] == end[:day] else end}"


def _time(milliseconds: int) -> str:
    """A moment as the clock of this machine shows it, like MLflow's pages."""
    return f"{datetime.fromtimestamp(milliseconds / 1000).astimezone():%Y-%m-%d %H:%M %Z}"
