"""Verification as a flow: forecasts beside what has been observed since, and observations beside those of training.

A deployment runs it every day. `python -m flows.verify` does it once, without a server. The scores go to a table that
DVC tracks; where observations have drifted, an event asks for a retrain.
"""

import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
from dvc.repo import Repo
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.champion import champion_at_hand
from flows.events import DRIFTED, announce
from flows.observations import archive, last_known, newest
from flows.outputs import OutputsBusyError, unchanged
from flows.pipeline import patiently
from flows.raw_data import paths_of_ingest
from flows.states import ended, skipped
from flows.verify_page import drift_page, skill_page
from physicnet.clock import from_milliseconds
from physicnet.config import Params, load_params
from physicnet.data.judge import Verdict
from physicnet.data.recent import Between, read_stretch
from physicnet.digest import content_hash
from physicnet.fields import DataError, Field, written_whole
from physicnet.lineage import command_paths
from physicnet.process import end_cleanly_on_sigterm
from physicnet.verification import drift, ledger
from physicnet.verification.filed import Filed
from physicnet.verification.reference import Reference
from physicnet.verification.scores import Observe, Scored, add_due, on_the_beat

WORK = Path(".physicnet") / "verify"
HOUR = np.timedelta64(3600, "s")
NAMED = re.compile(r"\d{4}-\d\d-\d\dT\d{6}Z\.nc")  # as the flow `forecast` names its files


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
        return skipped("there is no champion yet, whose forecasts could be verified")
    try:
        with unchanged(Reference.paths(Path.cwd()).values(), "verify"):
            return _verify(params, checkpoint)
    except OutputsBusyError as error:
        return ended("Busy", str(error))


def _verify(params: Params, checkpoint: Path) -> State:
    reference, forecasts = Reference.of(Path.cwd(), params), filed(params)
    verdict = look_through(params, reference, forecasts)
    scored = score(params, reference, forecasts, verdict)
    findings = look_for_drift(params, reference, verdict, checkpoint)
    remove_old(params, forecasts)
    message = f"{scored.num} forecasts scored"
    if scored.refused:
        message += f", {len(scored.refused)} cannot be; the log tells why"
    flagged = [finding for finding in findings if finding.is_flagged]
    if flagged:
        message += f"; beyond its limit: {'; '.join(each.what for each in flagged)}"
        return Completed(name="Drift", message=message)
    return Completed(name="Verified" if scored.num else "Nothing", message=message)


def filed(params: Params) -> Filed:
    """The forecasts of the service; other files in the folder are not looked at."""
    files = sorted(Path(params.forecast.folder).glob("*.nc"))
    return Filed.of("physicnet", [path for path in files if NAMED.fullmatch(path.name)])


@task(cache_policy=NO_CACHE)
def look_through(params: Params, reference: Reference, forecasts: Filed) -> Verdict:
    """Look through the observations that forecasts are to be scored by, and the newest; errors as of `archive`."""
    last = last_known(paths_of_ingest()["catalogue"] / "files.csv")
    if last is None:
        return archive(params, None)
    after = ledger.last_origin(_table(params))
    waiting = [origin for origin in forecasts.origins if after is None or origin > after]
    longest = max(params.clip.frames_in * reference.step, params.verify.drift.hours * HOUR)
    return archive(params, min([last, *waiting[:1]]) - longest)


@task(cache_policy=NO_CACHE)
def score(params: Params, reference: Reference, forecasts: Filed, verdict: Verdict) -> Scored:
    """Score the forecasts that have come true and are not in the table; track the table with DVC."""
    _table(params)  # which must not begin anew where DVC knows of one
    table, logger = Path(params.verify.table), get_run_logger()
    scored = add_due(table, forecasts, _observe(params, verdict), newest(verdict), reference, params)
    for origin, reason in scored.refused.items():
        logger.warning("the forecast from %s cannot be scored: %s", origin, reason)
    if table.is_file():
        patiently(lambda: track(table), time.sleep)
    scores = ledger.weekly(ledger.read(table), params.verify.weeks, params.evaluate)
    if len(scores):
        create_markdown_artifact(skill_page(scores), key="skill", description="How well forecasts came true, by week")
    logger.info("%d forecasts scored, into %s", scored.num, table)
    return scored


def _table(params: Params) -> pd.DataFrame:
    table = Path(params.verify.table)
    if not table.is_file() and Path(f"{table}.dvc").is_file():
        raise DataError(
            f"{table} is not there, but DVC tracks it: a new one would take its place. Bring it back: dvc checkout "
            f"{table}.dvc"
        )
    return ledger.read(table)


def track(table: Path) -> None:
    """Let DVC track the table as it is now."""
    with Repo(".") as repo:
        repo.add(str(table))


@task(cache_policy=NO_CACHE)
def look_for_drift(params: Params, reference: Reference, verdict: Verdict, checkpoint: Path) -> Sequence[drift.Finding]:
    """Hold the newest observations against those of training; ask for a retrain where params.yaml wants one."""
    from physicnet.model.rollout import ModelForecaster  # torch takes seconds

    model, config = ModelForecaster.load(checkpoint, params.machine), params.verify.drift
    training = _profile_of_training(model, model.frames_in, reference, checkpoint)
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


def _profile_of_training(model: drift.Reader, frames_in: int, reference: Reference, checkpoint: Path) -> drift.Profile:
    """Profile the training part, once for a model and a split of the record."""
    statistics = Path(command_paths(Path.cwd(), "evaluate")["statistics"])
    key = sha256(f"{content_hash(checkpoint)} {content_hash(statistics)}".encode()).hexdigest()[:16]
    path = WORK / f"training-{key}.json"
    if path.is_file():
        return drift.Profile.from_dict(json.loads(path.read_text(encoding="utf-8")))
    made = drift.profile(model, drift.training_clips(reference.training, frames_in))
    with written_whole(path) as partial:
        partial.write_text(json.dumps(made.to_dict()), encoding="utf-8")
    return made


def _recent_clips(params: Params, reference: Reference, verdict: Verdict, frames_in: int) -> Iterator[Field]:
    """Give frames of the newest hours, each with those before it that a forecast starts from."""
    step, observe, end = reference.step, _observe(params, verdict), newest(verdict)
    times = from_milliseconds(verdict.times, verdict.calendar)
    recent = times[(end - params.verify.drift.hours * HOUR < times) & (times <= end)]
    for last in drift.spread(recent):
        first = last - (frames_in - 1) * step
        yield on_the_beat(observe(first, last), first, last, step)


def remove_old(params: Params, forecasts: Filed) -> None:
    """Remove forecasts that were scored and made long before the latest that was."""
    scored = ledger.last_origin(_table(params))
    for origin, entry in forecasts.files.items():
        if scored is not None and origin < scored - params.forecast.keep_days * 24 * HOUR:
            entry.path.unlink()


def _observe(params: Params, verdict: Verdict) -> Observe:
    return lambda first, last: read_stretch(verdict, params.ingest, Between(first, last))


if __name__ == "__main__":
    end_cleanly_on_sigterm()
    sys.exit(0 if verify(return_state=True).is_completed() else 1)
