from pathlib import Path

from PIL import Image

from physicnet.tracking import pictures
from physicnet.tracking.store import Store


def test_a_picture_is_shown_once_by_its_step(store: Store, tmp_path: Path) -> None:
    run_id = store.find_or_create({"physicnet.child": "pictures"}, "evaluate", {})
    Image.new("RGB", (30, 20)).save(tmp_path / "lead.png")
    for _ in range(2):
        for step in (5, 55):
            pictures.show(store, run_id, "forecast/rain", step, tmp_path / "lead.png")
    kept = sorted(file.path for file in store.client.list_artifacts(run_id, "images") if file.path.endswith(".png"))
    assert [path.split("+timestamp")[0] for path in kept] == [
        "images/forecast~rain+step+5",
        "images/forecast~rain+step+55",
    ]
