"""What the deployments did and when: their runs on the server of PREFECT_API_URL, as a table and as a figure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from matplotlib.figure import Figure
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort
from rich.table import Table

from physicnet.drawing import INK, drawing_style

PAGE = 200  # runs in a request, the server's limit
IDLE = ("Nothing", "Waiting", "Known")  # names of states of runs that had nothing to do
COLOURS = {"collect": "#1c7ed6", "forecast": "#b5179e", "verify": "#2b8a3e", "retrain": "#e67700"}
FAILED = "#d00000"


@dataclass(frozen=True)
class Happening:
    """One run of a flow."""

    flow: str
    start: datetime
    end: datetime
    state: str
    message: str
    has_succeeded: bool

    @property
    def was_idle(self) -> bool:
        """Whether there was nothing to do."""
        return self.has_succeeded and self.state in IDLE


def happenings() -> list[Happening]:
    """Return the runs that were begun and have ended, in the order of their beginning."""
    ended = [StateType.COMPLETED, StateType.FAILED, StateType.CRASHED]
    chosen = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=ended)))
    found: list[Happening] = []
    with get_client(sync_client=True) as client:
        names = {each.id: each.name for each in client.read_flows()}
        while True:
            runs = client.read_flow_runs(
                flow_run_filter=chosen, sort=FlowRunSort.START_TIME_ASC, limit=PAGE, offset=len(found)
            )
            found += [_happening(run, names[run.flow_id]) for run in runs]
            if len(runs) < PAGE:
                return [each for each in found if each.flow in COLOURS]


def at_work() -> list[str]:
    """Return the flows of which a run is at work or waits for its turn."""
    states = [StateType.RUNNING, StateType.PENDING, StateType.SCHEDULED]
    chosen, now = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=states))), datetime.now(UTC)
    with get_client(sync_client=True) as client:
        names = {each.id: each.name for each in client.read_flows()}
        runs = client.read_flow_runs(flow_run_filter=chosen, sort=FlowRunSort.EXPECTED_START_TIME_ASC, limit=PAGE)
    return [names[run.flow_id] for run in runs if run.expected_start_time and run.expected_start_time <= now]


def _happening(run: Any, flow: str) -> Happening:
    start = run.start_time or run.expected_start_time or datetime.now(UTC)
    return Happening(
        flow,
        start,
        run.end_time or start,
        str(run.state_name),
        (run.state.message or "") if run.state else "",
        run.state_type == StateType.COMPLETED,
    )


def as_table(happened: Sequence[Happening]) -> Table:
    """A row for each run that had something to do; times are minutes since the first."""
    table = Table(title="What happened", title_justify="left")
    table.add_column("minute", justify="right")
    table.add_column("took", justify="right")
    for name in ("flow", "", ""):
        table.add_column(name, overflow="fold")
    begin = min((each.start for each in happened), default=datetime.now(UTC))
    for each in happened:
        if not each.was_idle:
            minute, seconds = (each.start - begin).total_seconds() / 60, (each.end - each.start).total_seconds()
            style = "" if each.has_succeeded else "[red]"
            table.add_row(f"{minute:.1f}", f"{seconds:.0f} s", each.flow, f"{style}{each.state}", each.message)
    return table


def timeline_figure(happened: Sequence[Happening]) -> Figure:
    """A lane for each flow, a bar for each run that had something to do, with its state."""
    begin = min(each.start for each in happened)
    lanes = [name for name in COLOURS if any(each.flow == name for each in happened)]
    with drawing_style():
        figure = Figure((11.0, 0.9 * len(lanes) + 0.9), layout="constrained")
        axes = figure.subplots()
        for each in happened:
            if each.flow not in lanes or each.was_idle:
                continue
            start, end = ((time - begin).total_seconds() / 60 for time in (each.start, each.end))
            colour = COLOURS[each.flow] if each.has_succeeded else FAILED
            row = len(lanes) - 1 - lanes.index(each.flow)
            axes.barh(row, end - start, left=start, height=0.42, color=colour, alpha=0.85, lw=0)
            axes.text(start, row + 0.27, each.state, fontsize=7, color=INK, va="bottom")
        axes.set_yticks(range(len(lanes)), list(reversed(lanes)))
        axes.set(xlabel="minutes since the beginning", ylim=(-0.5, len(lanes) - 0.2), xlim=(0, None))
        axes.tick_params(axis="y", length=0)
    return figure
