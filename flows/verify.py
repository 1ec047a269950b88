"""Verification as a flow: forecasts beside what has been observed since, and observations beside those of training.

A deployment runs it every day. `python -m flows.verify` does it once, without a server. The scores go to a table that
DVC tracks; where observations have drifted, an event asks for a retrain.
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
from dvc.repo import Repo
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.champion import champion_at_hand
from flows.events import DRIFTED, announce
from flows.outputs import OutputsBusyError, unchanged
from flows.pipeline import patiently
from flows.raw_data import paths_of_ingest
from flows.verify_page import drift_page, skill_page
from physicnet.checkpoint import content_hash
from physicnet.clock import from_milliseconds
from physicnet.config import Params, load_params
from physicnet.data.judge import Verdict
from physicnet.data.recent import Between, judged, read_stretch
from physicnet.data.sources import find_sources
from physicnet.data.state import State as Known
from physicnet.fields import Field, written_whole
from physicnet.lineage import command_paths
from physicnet.process import end_cleanly_on_sigterm
from physicnet.verification import drift, ledger
from physicnet.verification.filed import Filed
from physicnet.verification.reference import Reference
from physicnet.verification.scores import Observe, add_due, on_the_beat

WORK = Path(".physicnet") / "verify"
HOUR = np.timedelta64(3600, "s")


@flow(name="verify")
def verify() -> State:
    """Score what has come true, look for drift.

    The state is named Drift if observations have drifted, else Verified if there were forecasts to score, else
    Nothing; Skipped where nothing was trained yet; Busy if a stage is writing what the baselines are made of: then the
    next verification does it.
    """
    params = load_params(Path("params.yaml"))
    checkpoint = champion_at_hand()
    if checkpoint is None:
        return _ended("Skipped", "there is no champion yet, whose forecasts could be verified")
    try:
        with unchanged(Reference.paths(Path.cwd()).values(), "verify"):
            return _verify(params, checkpoint)
    except OutputsBusyError as error:
        return _ended("Busy", str(error))


def _verify(params: Params, checkpoint: Path) -> State:
    reference, verdict = Reference.of(Path.cwd(), params), archive(params)
    num = score(params, reference, verdict)
    findings = look_for_drift(params, reference, verdict, checkpoint)
    flagged = [finding for finding in findings if finding.is_flagged]
    remove_old(params)
    message = f"{num} forecasts scored"
    if flagged:
        message += f"; beyond its limit: {'; '.join(each.what for each in flagged)}"
        return Completed(name="Drift", message=message)
    return Completed(name="Verified" if num else "Nothing", message=message)


@task(cache_policy=NO_CACHE)
def archive(params: Params) -> Verdict:
    """Look through the observations; files that ingest or collect has looked through are not read again."""
    paths = paths_of_ingest()
    sources = find_sources(paths["raw"], params.ingest.pattern)
    return judged(sources, params.ingest, state=Known(paths["resume"].resolve()))


@task(cache_policy=NO_CACHE)
def score(params: Params, reference: Reference, verdict: Verdict) -> int:
    """Score the forecasts that have come true and are not in the table; track the table with DVC; return how many."""
    table = Path(params.verify.table)
    forecasts = Filed.of("physicnet", sorted(Path(params.forecast.folder).glob("*.nc")))
    num = add_due(table, forecasts, _observe(params, verdict), _newest(verdict), reference, params)
    scores = ledger.weekly(ledger.read(table), params.verify.weeks, params.evaluate)
    if num:
        patiently(lambda: track(table), time.sleep)
    if len(scores):
        create_markdown_artifact(skill_page(scores), key="skill", description="How well forecasts came true, by week")
    get_run_logger().info("%d forecasts scored, into %s", num, table)
    return num


def track(table: Path) -> None:
    """Let DVC track the table as it is now."""
    with Repo(".") as repo:
        repo.add(str(table))


@task(cache_policy=NO_CACHE)
def look_for_drift(params: Params, reference: Reference, verdict: Verdict, checkpoint: Path) -> Sequence[drift.Finding]:
    """Hold the newest observations against those of training; ask for a retrain where params.yaml wants one."""
    from physicnet.model.rollout import ModelForecaster  # torch takes seconds

    model, config = ModelForecaster.load(checkpoint, params.machine), params.verify.drift
    training = _profile_of_training(model, reference, checkpoint)
    clips = _recent_clips(params, reference, verdict, model.frames_in)
    now = drift.profile(model, clips, training.bounds)
    findings = drift.compare(training, now, config)
    create_markdown_artifact(
        drift_page(findings, training, now), key="drift", description="Whether observations are still like in training"
    )
    flagged = [finding for finding in findings if finding.is_flagged]
    for finding in flagged:
        get_run_logger().warning("%s: %.3g, the limit is %g", finding.what, finding.amount, finding.limit)
    if flagged and config.retrain:
        announce(DRIFTED, {finding.what: finding.amount for finding in flagged})
    return findings


def _profile_of_training(model: drift.Reader, reference: Reference, checkpoint: Path) -> drift.Profile:
    """Profile the training part, once for a model and a split of the record."""
    statistics = Path(command_paths(Path.cwd(), "evaluate")["statistics"])
    key = sha256(f"{content_hash(checkpoint)} {content_hash(statistics)}".encode()).hexdigest()[:16]
    path = WORK / f"training-{key}.json"
    if path.is_file():
        return drift.Profile.from_dict(json.loads(path.read_text(encoding="utf-8")))
    made = drift.profile(model, drift.training_clips(reference.training))
    with written_whole(path) as partial:
        partial.write_text(json.dumps(made.to_dict()), encoding="utf-8")
    return made


def _recent_clips(params: Params, reference: Reference, verdict: Verdict, frames_in: int) -> Iterator[Field]:
    """Give frames of the newest hours, each with those before it that a forecast starts from."""
    step, observe = reference.training.record.step, _observe(params, verdict)
    times = from_milliseconds(verdict.times, verdict.calendar)
    recent = times[times > times[-1] - params.verify.drift.hours * HOUR]
    for last in drift.spread(recent):
        first = last - (frames_in - 1) * step
        yield on_the_beat(observe(first, last), first, last, step)


def remove_old(params: Params) -> None:
    """Remove the forecasts that were made long before the newest."""
    forecasts = Filed.of("physicnet", Path(params.forecast.folder).glob("*.nc"))
    oldest = max(forecasts.origins, default=None)
    for origin, entry in forecasts.files.items():
        if oldest is not None and origin < oldest - params.forecast.keep_days * 24 * HOUR:
            entry.path.unlink()


def _observe(params: Params, verdict: Verdict) -> Observe:
    return lambda first, last: read_stretch(verdict, params.ingest, Between(first, last))


def _newest(verdict: Verdict) -> np.datetime64:
    return from_milliseconds(verdict.times[-1:], verdict.calendar)[0]


def _ended(name: str, reason: str) -> State:
    get_run_logger().info("%s: %s", name, reason)
    return Completed(name=name, message=reason)


if __name__ == "__main__":
    end_cleanly_on_sigterm()
    sys.exit(0 if verify(return_state=True).is_completed() else 1)
