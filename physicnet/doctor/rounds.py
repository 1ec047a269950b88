"""All checks, one after the other: those of the library, then those of the flows, which know DVC and Prefect.

The library knows neither: the flows are a program of their own, whose lines follow in the same form.
"""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from physicnet.doctor import disk, history, leftovers, versions
from physicnet.doctor.findings import Check, examine, not_checked, show

CHECKS: Mapping[str, Check] = {
    versions.SUBJECT: versions.check,
    disk.SUBJECT: disk.check,
    history.SUBJECT: history.check,
    leftovers.SUBJECT: leftovers.check,
}
FLOWS = Path("flows")  # of a project that has them


def make() -> bool:
    """Make the checks in the current folder, print what they find, return whether there was no error."""
    console = Console()
    is_well = examine(CHECKS, console)
    if not FLOWS.is_dir():
        why = "this folder has no flows/, so neither DVC's data and locks nor a service were looked at"
        show(not_checked("DVC and Prefect", why, "run it in the folder of the repository"), console)
        return is_well
    console.file.flush()
    return subprocess.run([sys.executable, "-m", "flows.doctor"]).returncode == 0 and is_well
