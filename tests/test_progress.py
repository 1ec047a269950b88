import sys

import pytest

from physicnet.progress import Step, steps_shown


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_without_a_terminal_steps_are_lines_that_can_be_read_again(capsys: pytest.CaptureFixture[str]) -> None:
    with steps_shown(1, 3, is_shown=True) as advance:
        advance("loss 0.500")
        advance("loss 0.250")
    told = [Step(1, 3, ""), Step(2, 3, "loss 0.500"), Step(3, 3, "loss 0.250")]
    printed = lines(capsys)
    assert printed[:2] == ["training: step 1 of 3", "training: step 2 of 3, loss 0.500"]
    assert [Step.read(line) for line in printed] == told
    assert [step.percent for step in told] == pytest.approx([100 / 3, 200 / 3, 100])


def test_a_long_training_does_not_fill_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    with steps_shown(0, 5000, is_shown=True) as advance:
        for _ in range(5000):
            advance("")
    printed = lines(capsys)
    assert len(printed) == 101
    assert printed[-1] == "training: step 5000 of 5000"


def test_a_process_that_does_not_lead_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with steps_shown(0, 1, is_shown=False) as advance:
        advance("loss 1.000")
    assert lines(capsys) == []


def test_on_a_terminal_there_is_a_bar_and_no_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with steps_shown(0, 2, is_shown=True) as advance:
        advance("loss 1.000")
        advance("loss 0.500")
    shown = lines(capsys)
    assert any("2/2" in line for line in shown)
    assert not any(Step.read(line) for line in shown)


@pytest.mark.parametrize("line", ["", "training: step 1", "Running stage 'train':", "> training: step 1 of 2"])
def test_other_lines_tell_of_no_step(line: str) -> None:
    assert Step.read(line) is None
