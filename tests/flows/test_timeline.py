from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from flows.rehearsal import RehearsalError, check
from flows.timeline import Happening, as_table, timeline_figure

BEGIN = datetime(2026, 11, 25, tzinfo=UTC)


def happening(flow: str, state: str, minute: float = 0.0, *, has_succeeded: bool = True) -> Happening:
    start = BEGIN + timedelta(minutes=minute)
    return Happening(flow, start, start + timedelta(seconds=30), state, f"{state} of {flow}", has_succeeded)


GOOD = [
    happening("retrain", "Promoted"),
    happening("collect", "Collected", 1),
    happening("collect", "Nothing", 1.5),
    happening("forecast", "Forecast", 2),
    happening("verify", "Verified", 3),
    happening("retrain", "Kept", 4),
]


def test_what_had_nothing_to_do_is_left_out_of_the_table() -> None:
    console = Console(width=120, record=True)
    console.print(as_table(GOOD))
    lines = console.export_text().splitlines()
    (collected,) = [line for line in lines if "collect " in line]
    assert [cell.strip() for cell in collected.split("│")[1:-1]] == [
        "1.0",
        "30 s",
        "collect",
        "Collected",
        "Collected of collect",
    ]
    assert "Nothing" not in console.export_text()


def test_the_figure_has_a_lane_for_each_flow_and_shows_what_failed_in_red() -> None:
    (axes,) = timeline_figure([*GOOD, happening("verify", "Failed", 5, has_succeeded=False)]).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["retrain", "verify", "forecast", "collect"]
    assert len(axes.patches) == len(GOOD)  # all but the collect that found nothing, and one more
    red = [bar for bar in axes.patches if bar.get_facecolor()[0] > 0.8 and bar.get_facecolor()[1] < 0.1]
    assert [(bar.get_x(), round(bar.get_width(), 2)) for bar in red] == [(5.0, 0.5)]


def test_a_rehearsal_is_held_to_what_had_to_happen() -> None:
    check(GOOD, 1)
    with pytest.raises(RehearsalError, match="forecast ended as Forecast 1 times, not 2"):
        check(GOOD, 2)
    with pytest.raises(RehearsalError, match="no retrain followed the first"):
        check(GOOD[:-1], 1)
    with pytest.raises(RehearsalError, match="a run did not succeed: verify Crashed: Crashed of verify"):
        check([*GOOD, happening("verify", "Crashed", has_succeeded=False)], 1)
