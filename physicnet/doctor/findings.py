"""What a check has found, and how it is told: a line with what was seen, and below it what to do."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from rich.console import Console
from rich.text import Text


class Level(StrEnum):
    """How much it matters."""

    OK = "ok"
    NOT_CHECKED = "not checked"
    WARNING = "warning"
    ERROR = "error"


COLOURS: Mapping[Level, str] = {
    Level.OK: "green",
    Level.NOT_CHECKED: "cyan",
    Level.WARNING: "yellow",
    Level.ERROR: "bold red",
}
WIDTH = max(map(len, Level)) + 2


@dataclass(frozen=True)
class Finding:
    """What was seen of a subject, and the remedy; what is ok needs none."""

    level: Level
    subject: str
    seen: str
    remedy: str = ""


Check = Callable[[], Iterable[Finding]]


def ok(subject: str, seen: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, subject, seen)


def not_checked(subject: str, why: str, remedy: str = "") -> Finding:
    """Nobody looked."""
    return Finding(Level.NOT_CHECKED, subject, why, remedy)


def warning(subject: str, seen: str, remedy: str) -> Finding:
    """Work goes on, but not as it should."""
    return Finding(Level.WARNING, subject, seen, remedy)


def error(subject: str, seen: str, remedy: str) -> Finding:
    """Work fails, or its results are wrong, until somebody mends it."""
    return Finding(Level.ERROR, subject, seen, remedy)


def examine(checks: Mapping[str, Check], console: Console) -> bool:
    """Make the checks, by their subjects, and print what each finds; return whether there was no error.

    A check that fails itself is an error of its subject, and keeps none of the others from being made.
    """
    is_well = True
    for subject, check in checks.items():
        for finding in _made(subject, check):
            show(finding, console)
            is_well = is_well and finding.level is not Level.ERROR
    return is_well


def show(finding: Finding, console: Console) -> None:
    """Print a finding; lines are not broken, for the remedy may be a command to copy."""
    line = Text(f"{finding.level:<{WIDTH}}", style=COLOURS[finding.level])
    line.append(f"{finding.subject}: {finding.seen}", style="default not bold")
    console.print(line, soft_wrap=True)
    if finding.remedy:
        console.print(Text(f"{'':<{WIDTH}}→ {finding.remedy}"), soft_wrap=True)


def first(names: Iterable[str], number: int = 3) -> str:
    """The first of some names, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - number} more" if len(listed) > number else ""
    return ", ".join(listed[:number]) + more


def _made(subject: str, check: Check) -> Iterable[Finding]:
    try:
        yield from check()
    except Exception as failure:  # whatever it is, it is told, and the other checks are made
        told = " ".join(f"{type(failure).__name__}: {failure}".split())
        yield error(subject, f"the check itself failed: {told}", "repair what the message names, or report it")
