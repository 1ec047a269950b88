from pathlib import Path

import pytest
from PIL import Image

from physicnet.tracking import pictures
from physicnet.tracking.pictures import Picture
from physicnet.tracking.store import Store


def draw(folder: Path, *steps: int) -> list[Picture]:
    folder.mkdir(exist_ok=True)
    drawn = [("forecast/rain", step, folder / f"{step}.png") for step in steps]
    for _, step, file in drawn:
        Image.new("RGB", (30, 20), (step, 0, 0)).save(file)
    return drawn


def shown(store: Store, run_id: str) -> list[str]:
    """The series and steps that the run shows, each in full and in small."""
    return sorted(file.path.partition("+timestamp")[0] for file in store.client.list_artifacts(run_id, "images"))


def test_pictures_are_shown_once_by_their_steps(store: Store, tmp_path: Path) -> None:
    run_id = store.find_or_create({"physicnet.child": "pictures"}, "evaluate", {})
    drawn = draw(tmp_path / "frames", 5, 55)
    assert pictures.show(store, run_id, tmp_path / "frames", drawn)
    assert not pictures.show(store, run_id, tmp_path / "frames", drawn)
    assert shown(store, run_id) == [name for step in (5, 55) for name in [f"images/forecast~rain+step+{step}"] * 2]
    assert store.client.get_run(run_id).data.tags["mlflow.loggedImages"] == "True"


def test_other_pictures_take_the_place_of_all_that_a_run_shows(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = store.find_or_create({"physicnet.child": "other pictures"}, "evaluate", {})
    pictures.show(store, run_id, tmp_path / "frames", draw(tmp_path / "frames", 5, 55))
    drawn = draw(tmp_path / "frames", 7, 8)
    log, count = store.client.log_image, iter(range(9))

    def lost(*args: object, **named: object) -> None:
        if next(count) == 1:
            raise ConnectionError
        log(*args, **named)

    monkeypatch.setattr(store.client, "log_image", lost)
    with pytest.raises(ConnectionError):
        pictures.show(store, run_id, tmp_path / "frames", drawn)
    assert shown(store, run_id) == ["images/forecast~rain+step+7"] * 2
    assert pictures.show(store, run_id, tmp_path / "frames", drawn)
    assert shown(store, run_id) == ["images/forecast~rain+step+7"] * 2 + ["images/forecast~rain+step+8"] * 2
    assert not pictures.show(store, run_id, tmp_path / "frames", drawn)
