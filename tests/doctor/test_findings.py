from collections.abc import Iterator

import pytest
from rich.console import Console

from physicnet.doctor.findings import Finding, error, examine, first, not_checked, ok, warning


def told(text: str) -> list[str]:
    return [line for line in text.splitlines() if line]


def test_each_finding_is_a_line_and_its_remedy_another_that_can_be_copied(capsys: pytest.CaptureFixture[str]) -> None:
    long = "rm " + "a" * 100
    assert examine({"disk": lambda: [ok("disk", "all well"), warning("disk", "little", long)]}, Console(width=40))
    assert told(capsys.readouterr().out) == [
        "ok           disk: all well",
        "warning      disk: little",
        f"             → {long}",
    ]


def test_an_error_alone_makes_it_fail(capsys: pytest.CaptureFixture[str]) -> None:
    assert examine({"disk": lambda: [not_checked("disk", "no disk"), warning("disk", "little", "rm")]}, Console())
    assert not examine({"disk": lambda: [error("disk", "full", "rm"), ok("disk", "well")]}, Console())
    assert "error        disk: full" in capsys.readouterr().out


def test_a_check_that_fails_is_an_error_and_hides_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> Iterator[Finding]:
        yield ok("disk", "half of it")
        raise KeyError("size")

    assert not examine({"disk": broken, "locks": lambda: [ok("locks", "none")]}, Console())
    out = capsys.readouterr().out
    assert "error        disk: the check itself failed: KeyError: 'size'" in out
    assert out.index("half of it") < out.index("failed") < out.index("locks: none")


def test_long_lists_are_cut_and_counted() -> None:
    assert first(["a", "b", "c"]) == "a, b, c"
    assert first("abcde", 2) == "a, b and 3 more"
