import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import yaml
from prefect.artifacts import Artifact

from flows.backfill import BackfillError, BackfillFailedError, backfill, flow_of, times

ROOT = Path(__file__).parents[2]
SMALL = """
from datetime import datetime
from pathlib import Path
from prefect import flow
from prefect.states import Completed

@flow(name="small")
def small(at: datetime | None = None):
    bad = Path("bad").read_text().split()
    if str(at.day) in bad:
        raise ValueError(f"no frames on day {at.day}")
    with open("done", "a") as done:
        print(at.isoformat(), file=done)
    return Completed(name="Skipped" if at.day == 3 else "Forecast", message=f"day {at.day}")

@flow(name="now")
def now():
    pass
"""
FIRST, LAST = datetime(2026, 5, 1), datetime(2026, 5, 4)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.py").write_text(SMALL)
    (tmp_path / "bad").write_text("")
    deployments = [{"name": name, "entrypoint": f"small.py:{name}"} for name in ("small", "now")]
    (tmp_path / "prefect.yaml").write_text(yaml.safe_dump({"deployments": deployments}))
    return tmp_path


def done(folder: Path) -> list[int]:
    return [datetime.fromisoformat(line).day for line in (folder / "done").read_text().split()]


@pytest.mark.usefixtures("_server")
def test_each_day_is_done_once_in_order_and_a_table_tells_of_them(folder: Path) -> None:
    state = backfill("small", FIRST, LAST, return_state=True)
    assert state.message == "4 times of small: 4 done now, 0 before"
    assert done(folder) == [1, 2, 3, 4]
    table = Artifact.get("backfill")
    assert table is not None
    assert '"state": "Skipped"' in str(table.data)
    again = backfill("small", FIRST, LAST + timedelta(days=1), return_state=True)
    assert again.message == "5 times of small: 2 done now, 3 before"  # what was skipped may go better now
    assert done(folder) == [1, 2, 3, 4, 3, 5]


@pytest.mark.usefixtures("_server")
def test_a_day_that_fails_is_told_keeps_none_from_being_done_and_is_tried_again(folder: Path) -> None:
    (folder / "bad").write_text("2")
    with pytest.raises(BackfillFailedError, match=r"1 of 4 failed.*2026-05-02T00:00:00"):
        backfill("small", FIRST, LAST)
    assert done(folder) == [1, 3, 4]
    (folder / "bad").write_text("")
    assert backfill("small", FIRST, LAST, return_state=True).message == "4 times of small: 2 done now, 2 before"
    assert done(folder) == [1, 3, 4, 2, 3]


def test_a_flow_that_takes_no_time_is_refused(folder: Path) -> None:
    with pytest.raises(BackfillError, match=r"the flow of deployment 'now' \(small.py:now\) has no parameter 'at'"):
        flow_of("now")


def test_the_command_says_in_one_line_why_it_refuses(folder: Path) -> None:
    command = [sys.executable, "-m", "flows.backfill", "now", "--start", "2026-05-02", "--end", "2026-05-01"]
    refused = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert refused.returncode == 1
    assert "has no parameter 'at'" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_an_unknown_deployment_is_refused(folder: Path) -> None:
    with pytest.raises(BackfillError, match="has no deployment of the flow 'verify'; it has those of now, small"):
        flow_of("verify")


def test_times_are_utc_and_go_on_to_the_end() -> None:
    paris = timezone(timedelta(hours=2))
    assert list(times(datetime(2026, 5, 1, 2, tzinfo=paris), datetime(2026, 5, 1, 13), 6)) == [
        datetime(2026, 5, 1, hour, tzinfo=UTC) for hour in (0, 6, 12)
    ]
    assert list(times(FIRST, FIRST, 24)) == [FIRST.replace(tzinfo=UTC)]


def test_a_range_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(BackfillError, match="the end, 2026-05-01 00:00, is before the start"):
        list(times(LAST, FIRST, 24))


def test_a_step_that_leads_nowhere_is_refused() -> None:
    with pytest.raises(BackfillError, match="a step of 0 hours"):
        list(times(FIRST, LAST, 0))
