"""Says what is wrong with this folder's data in DVC and with its service in Prefect, and changes nothing.

`physicnet doctor` shows these lines below its own. The exit status is 1 if there is an error.
"""

import sys
from collections.abc import Mapping

from rich.console import Console

from flows.doctor import data, database, locks, server
from physicnet.doctor.findings import Check, examine

CHECKS: Mapping[str, Check] = {
    data.CACHE: data.check_cache,
    data.OUTPUTS: data.check_outputs,
    locks.SUBJECT: locks.check,
    database.SUBJECT: database.check,
    server.SUBJECT: server.check,
}

if __name__ == "__main__":
    sys.exit(0 if examine(CHECKS, Console()) else 1)
