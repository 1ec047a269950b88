import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLOWS = "import sys\nprint('warning      locks: held')\nsys.exit(int(open('status').read()))\n"


def doctor(folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    command = [sys.executable, "-c", "from physicnet.cli import main; main()", "doctor"]
    environment["PYTHONPATH"] = str(ROOT)
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_outside_of_a_repository_it_says_what_was_not_looked_at(tmp_path: Path) -> None:
    done = doctor(tmp_path)
    assert done.returncode == 0, done.stdout
    assert "not checked  DVC and Prefect: this folder has no flows/" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", [0, 1])
def test_the_lines_of_the_flows_follow_and_their_errors_count(tmp_path: Path, status: int) -> None:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "__init__.py").touch()
    (tmp_path / "flows" / "doctor.py").write_text(FLOWS)
    (tmp_path / "status").write_text(str(status))
    done = doctor(tmp_path)
    assert done.returncode == status
    assert done.stdout.splitlines()[-1] == "warning      locks: held"
    assert "ok           disk: " in done.stdout


def test_an_error_of_the_library_counts(tmp_path: Path) -> None:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "__init__.py").touch()
    (tmp_path / "flows" / "doctor.py").write_text(FLOWS)
    (tmp_path / "status").write_text("0")
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow" / "mlflow.db").write_text("no database" * 1000)
    done = doctor(tmp_path)
    assert done.returncode == 1
    assert "error        history (MLflow)" in done.stdout
