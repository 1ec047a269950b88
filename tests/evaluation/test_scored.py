import pandas as pd
import pytest
from tested import TIMES, origins_table, second_variable

from physicnet.evaluation.scored import ScoredRun, read_origins, refuse_unlike, what_was_tested
from physicnet.fields import DataError


def run(label: str, origins: pd.DataFrame) -> ScoredRun:
    return ScoredRun(label, f"execution {label * 8}", "2020-06-02 10:00 UTC", {}, origins)


def test_what_was_tested_is_told_in_words() -> None:
    span = "2020-06-01 12:00 to 2020-06-01 12:15"
    said = f"rain (mm h⁻¹), wind (m s⁻¹) from 4 forecast origins, {span}, at 3 leads, 5 min to 15 min"
    assert what_was_tested(run("A", second_variable(origins_table()))) == said


def test_other_variables_or_units_are_refused() -> None:
    with pytest.raises(DataError, match=r"A was tested on rain \(mm h⁻¹\), .*B on rain \(mm h⁻¹\), wind \(m s⁻¹\)"):
        refuse_unlike(run("A", origins_table()), run("B", second_variable(origins_table())))


def test_other_events_are_refused() -> None:
    other = origins_table().rename(columns=lambda name: name.replace("_1", "_2"))
    with pytest.raises(DataError, match=r"A was tested for events of rain above 1, .*B for events of rain above 2"):
        refuse_unlike(run("A", origins_table()), run("B", other))


def test_other_leads_are_refused() -> None:
    with pytest.raises(DataError, match=r"A was tested at 3 leads, 5 min to 15 min, .*B at the lead 5 min"):
        refuse_unlike(run("A", origins_table()), run("B", origins_table(leads=1)))


def test_other_times_are_refused_and_the_first_is_named() -> None:
    message = (
        r"A was tested from 4 forecast origins, 2020-06-01 12:00 to 2020-06-01 12:15, .*B from 3 .*; only .*A has "
    )
    with pytest.raises(DataError, match=message + "2020-06-01 12:05"):
        refuse_unlike(run("A", origins_table()), run("B", origins_table(times=(TIMES[0], *TIMES[2:]))))


def test_other_cells_are_refused() -> None:
    other = origins_table()
    other.loc[(other["time"] == TIMES[1]) & (other["lead"] == 2), "cells"] = 99
    with pytest.raises(DataError, match=r"A scored 100 cells of rain 10 min after 2020-06-01 12:05, .*B 99\. Evaluate"):
        refuse_unlike(run("A", origins_table()), run("B", other))


def test_another_truth_is_refused() -> None:
    other = origins_table()
    other.loc[other["model"] == "persistence", "squared_error"] *= 1.001
    with pytest.raises(DataError, match=r"squared error of persistence for rain 5 min after 2020-06-01 12:00 is .* in"):
        refuse_unlike(run("A", origins_table()), run("B", other))


def test_a_last_digit_that_is_rounded_otherwise_is_no_difference() -> None:
    other = origins_table()
    other["squared_error"] *= 1 + 9e-6
    refuse_unlike(run("A", origins_table()), run("B", other))


def test_the_table_of_origins_is_read_as_it_was_written() -> None:
    table = origins_table()
    pd.testing.assert_frame_equal(read_origins(table.to_csv(index=False), "origins.csv"), table)


@pytest.mark.parametrize("text", ["", "a,b\n1,2,3\n4,5,6,7\n", "cells\nmany\n"])
def test_what_is_no_table_is_refused(text: str) -> None:
    with pytest.raises(DataError, match=r"origins\.csv of train 1 is not a table: .*; evaluate again"):
        read_origins(text, "origins.csv of train 1")


def test_a_table_without_a_column_is_refused() -> None:
    text = origins_table().drop(columns=["cells", "lead"]).to_csv()
    with pytest.raises(DataError, match=r"it has no columns lead, cells; evaluate again"):
        read_origins(text, "it")


def test_a_table_without_persistence_is_refused() -> None:
    table = origins_table()
    with pytest.raises(DataError, match=r"it has no rows of persistence; evaluate again"):
        read_origins(table[table["model"] != "persistence"].to_csv(), "it")
