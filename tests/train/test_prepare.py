import csv
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from fauxface import crops
from fauxface.errors import BundleError, DataError, OutputError
from fauxface.locator import Location
from fauxface_train import extraction, prepare, selection
from fauxface_train.dataset import PreparedData, load_crop, load_stored
from fauxface_train.extraction import CropRule
from fauxface_train.prepare import SplitRule, Summary

BOX = (0.25, 0.2, 0.5, 0.6)
LANDMARKS = ((60.5, 70.0), (100.25, 70.0), (80.0, 90.0), (65.0, 110.0), (95.0, 110.127))


class FakeLocator:
    """Finds a face at a fixed place of every picture, but none in white ones."""

    def __init__(self, stop_after: int | None) -> None:
        self.left = stop_after

    def locate(self, image: np.ndarray) -> list[Location]:
        if self.left is not None:
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
        if image.min() > 250:
            return []
        height, width = image.shape[:2]
        x, y, w, h = BOX
        return [Location((x * width, y * height, w * width, h * height), LANDMARKS, 0.9)]


@dataclass(frozen=True)
class FakeSource:
    stop_after: int | None = None
    sha256: str = "00" * 32
    values: dict[str, Any] = field(default_factory=dict)

    def settings(self) -> dict[str, Any]:
        return self.values

    def open(self) -> FakeLocator:
        return FakeLocator(self.stop_after)


def picture(seed: int, width: int = 160, height: int = 160) -> np.ndarray:
    """Return a smooth coloured pattern, uint8 [height, width, 3], another for each seed."""
    noise = np.random.default_rng(seed).random((14, 14, 3), np.float32)
    smooth = cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
    return (smooth / smooth.max() * 255).astype(np.uint8)


def save(path: Path, image: np.ndarray, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)
    return path


def fill(root: Path, label: str, source: str, seeds: range, split: str = "") -> None:
    for seed in seeds:
        save(root / split / label / source / f"{seed}.png", picture(seed))


def run(sources: Path | list[str], out: Path, locator: FakeSource | None = None, **options: Any) -> Summary:
    """Prepare with the fake locator."""
    rule = options.pop("crop_rule", CropRule())
    return prepare.prepare(
        [str(sources)] if isinstance(sources, Path) else sources,
        out,
        crop_rule=rule,
        split_rule=options.pop("split_rule", SplitRule()),
        locator=None if rule.whole else locator or FakeSource(),
        stream=io.StringIO(),
        **options,
    )


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def content(out: Path) -> dict[str, bytes]:
    files = [p for p in out.rglob("*") if p.is_file() and ".work" not in p.parts]
    return {str(p.relative_to(out)): p.read_bytes() for p in files}


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    root = tmp_path / "faces"
    fill(root, "real", "cam", range(12))
    fill(root, "fake", "gan", range(100, 112))
    return root


def test_crops_hold_the_nominal_square_of_the_runtime(tmp_path: Path, faces: Path):
    run(faces, tmp_path / "out")
    data = PreparedData.load(tmp_path / "out")
    assert (len(data), data.margin, data.room) == (24, 1.0, extraction.ROOM)
    for sample in data.samples():
        image = np.array(Image.open(sample.original))
        box = (40.0, 32.0, 80.0, 96.0)
        assert sample.box == box
        assert sample.landmarks == (*LANDMARKS[:4], (95.0, 110.13))
        nominal = crops.extract(image, crops.face_square(box, 1.0))
        np.testing.assert_array_equal(load_crop(sample), crops.to_input(nominal))
        assert load_stored(sample).shape[0] == round(96 * 1.25)


def test_large_crops_are_halved_with_their_square(tmp_path: Path):
    save(tmp_path / "faces/real/cam/a.png", picture(1, 900, 900))
    run(tmp_path / "faces", tmp_path / "out")
    (sample,) = PreparedData.load(tmp_path / "out").samples()
    assert 128 <= sample.square.side < 256
    assert load_stored(sample).shape[0] == pytest.approx(1.25 * sample.square.side, abs=2)
    nominal = crops.face_square((225, 180, 450, 540), 1.0)
    np.testing.assert_array_equal(
        load_crop(sample), crops.to_input(crops.extract(picture(1, 900, 900), nominal))
    )


def test_whole_pictures(tmp_path: Path):
    save(tmp_path / "faces/fake/gan/a.png", picture(1, 200, 120))
    run(tmp_path / "faces", tmp_path / "out", crop_rule=CropRule(whole=True, min_face=32))
    data = PreparedData.load(tmp_path / "out")
    assert data.min_face_px == 32
    (sample,) = data.samples()
    assert (data.margin, data.room, sample.locator_score, sample.box) == (1.0, 1.0, None, (40, 0, 120, 120))
    assert sample.landmarks == ()
    np.testing.assert_array_equal(load_stored(sample), picture(1, 200, 120)[:, 40:160])


def test_both_labels_are_cut_and_coded_alike(tmp_path: Path):
    """The same files under either label give the same stored bytes: nothing in prepare knows the label."""
    for label in ("real", "fake"):
        for seed, (width, height) in enumerate([(160, 160), (900, 700), (90, 200)]):
            save(
                tmp_path / label / label / "source" / f"{seed}.jpg", picture(seed, width, height), quality=80
            )
        run(tmp_path / label, tmp_path / f"{label}-out")
    read = {label: rows(tmp_path / f"{label}-out") for label in ("real", "fake")}
    for real, fake in zip(read["real"], read["fake"], strict=True):
        assert (real.pop("label"), fake.pop("label")) == ("real", "fake")
        stored = [
            (tmp_path / f"{name}-out" / row.pop("crop")).read_bytes()
            for name, row in (("real", real), ("fake", fake))
        ]
        assert stored[0] == stored[1]
        assert {name: value for name, value in real.items() if name != "original"} == {
            name: value for name, value in fake.items() if name != "original"
        }


def test_every_file_is_accounted_for(tmp_path: Path, faces: Path):
    cam = faces / "real/cam"
    (cam / "empty.jpg").write_bytes(b"")
    (cam / "text.jpg").write_bytes(b"no picture")
    save(cam / "cut.jpg", picture(50), quality=90)
    (cam / "cut.jpg").write_bytes((cam / "cut.jpg").read_bytes()[:2000])
    save(cam / "white.png", np.full((90, 90, 3), 255, np.uint8))
    save(cam / "small.png", picture(51, 60, 60))
    save(cam / "copy.bmp", picture(3))
    save(cam / "again.jpg", picture(4), quality=50)
    save(cam / "wrong.png", picture(101))
    (cam / "gone.jpg").symlink_to("nowhere")
    (cam / "notes.txt").write_text("x")
    report = run(faces, tmp_path / "out").report
    assert report == json.loads((tmp_path / "out/report.json").read_text())
    assert report["counts"] == {
        "found": 33,
        "kept": 23,
        "duplicates": 1,
        "near_duplicates": 1,
        "conflicts": 2,
        "no_face": 1,
        "too_small": 1,
        "unreadable": 4,
    }
    assert (
        report["counts"]["kept"]
        == len(rows(tmp_path / "out"))
        == len(list((tmp_path / "out/crops").rglob("*.png")))
    )
    assert sum(group["found"] for group in report["groups"]) == 33
    for group in report["groups"]:
        assert group["found"] == sum(group[outcome] for outcome in prepare.OUTCOMES)
    assert report["ignored_files"] == {".txt": 1}
    bad = {Path(row["file"]).name: row for row in report["bad_files"]}
    assert set(bad) == {"empty.jpg", "text.jpg", "cut.jpg", "white.png", "small.png", "gone.jpg"}
    assert "truncated" in bad["cut.jpg"]["reason"]
    assert all("\n" not in row["reason"] and row["reason"] for row in bad.values())
    copies = {Path(row["file"]).name: (row["outcome"], Path(row["of"]).name) for row in report["duplicates"]}
    assert copies["copy.bmp"] == ("duplicates", "3.png") or copies["3.png"] == ("duplicates", "copy.bmp")
    assert copies["again.jpg"] == ("near_duplicates", "4.png") or copies["4.png"] == (
        "near_duplicates",
        "again.jpg",
    )
    assert copies["wrong.png"] == ("conflicts", "101.png")
    assert copies["101.png"] == ("conflicts", "wrong.png")


def test_truncated_pictures_can_be_tolerated(tmp_path: Path):
    path = save(tmp_path / "faces/real/a.jpg", picture(1), quality=90)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(DataError, match="none of 1 pictures could be used"):
        run(tmp_path / "faces", tmp_path / "strict")
    assert not (tmp_path / "strict/manifest.csv").exists()
    report = run(tmp_path / "faces", tmp_path / "out", crop_rule=CropRule(tolerant=True)).report
    assert report["counts"]["kept"] == 1


def test_near_duplicates_never_cross_splits(tmp_path: Path):
    root = tmp_path / "faces"
    fill(root, "real", "cam", range(5), "train")
    fill(root, "fake", "gan", range(100, 105), "train")
    save(root / "val/real/cam/x.jpg", picture(1), quality=60)
    save(root / "test/real/other/y.jpg", picture(1), quality=40)
    save(root / "test/fake/gan/z.png", picture(102))
    report = run(root, tmp_path / "out").report
    kept = {Path(row["original"]).name: row["split"] for row in rows(tmp_path / "out")}
    assert kept["y.jpg"] == kept["z.png"] == "test"
    assert not {"x.jpg", "1.png", "102.png"} & set(kept)
    assert (report["counts"]["near_duplicates"], report["counts"]["duplicates"]) == (2, 1)


def test_near_duplicates_under_both_labels_are_dropped(tmp_path: Path, faces: Path):
    save(faces / "fake/gan/stolen.jpg", picture(5), quality=60)
    report = run(faces, tmp_path / "out").report
    assert report["counts"]["conflicts"] == 2
    assert not {"5.png", "stolen.jpg"} & {Path(row["original"]).name for row in rows(tmp_path / "out")}


def test_a_near_copy_of_one_in_conflict_is_dropped_too():
    """C is A's photograph, and too far from B to be told as B's copy."""
    entries = [SimpleNamespace(item=SimpleNamespace(label=label)) for label in (0, 1, 0, 0)]
    fates = {}
    selection._drop_near(entries, [0, 1, 2, 3], {0: [1, 2], 1: [0], 2: [0]}, fates)
    assert [fates[i].outcome for i in range(4)] == [*["conflicts"] * 3, selection.KEPT]
    assert fates[2].other == 1


def test_copies_of_a_picture_under_both_labels_are_dropped_too(tmp_path: Path, faces: Path):
    """Whichever label a near copy of a disputed picture has, it is disputed as well."""
    save(faces / "fake/gan/stolen.png", picture(5))
    save(faces / "fake/gan/again.jpg", picture(5), quality=60)
    report = run(faces, tmp_path / "out").report
    assert (report["counts"]["conflicts"], report["counts"]["near_duplicates"]) == (3, 0)
    names = {Path(row["original"]).name for row in rows(tmp_path / "out")}
    assert not {"5.png", "stolen.png", "again.jpg"} & names


def test_split_follows_content_only(tmp_path: Path, faces: Path):
    fill(faces, "real", "cam", range(200, 260))
    run(faces, tmp_path / "out", crop_rule=CropRule(whole=True))
    before = {row["sha256"]: row["split"] for row in rows(tmp_path / "out")}
    assert set(before.values()) == {"train", "val", "test"}
    fill(faces, "real", "cam", range(300, 320))
    (faces / "real/cam").rename(faces / "real/renamed")
    summary = run(faces, tmp_path / "out", crop_rule=CropRule(whole=True))
    after = {row["sha256"]: row["split"] for row in rows(tmp_path / "out")}
    assert len(after) == len(before) + 20
    assert before.items() <= after.items()
    assert {row["source"] for row in rows(tmp_path / "out")} == {"renamed", "gan"}
    assert summary.report["counts"]["kept"] == len(list((tmp_path / "out/crops").rglob("*.png")))
    assert not (tmp_path / "out/crops/train/real/cam").exists()


def test_split_shares_and_seed():
    keys = [f"{number:064x}" for number in range(4000)]
    splits = [SplitRule().split(key) for key in keys]
    assert splits.count("train") == pytest.approx(3200, abs=80)
    assert splits.count("val") == pytest.approx(400, abs=60)
    assert splits != [SplitRule(seed=1).split(key) for key in keys]
    assert {SplitRule(1, 0, 0).split(key) for key in keys} == {"train"}
    assert [SplitRule().carve(key) for key in keys].count("val") == pytest.approx(444, abs=60)


@pytest.mark.parametrize(
    "shares", [(0.5, 0.2, 0.2), (1.1, -0.1, 0.0), (float("nan"), 0.5, 0.5), (0.5, 0.5, float("nan"))]
)
def test_bad_shares(shares: tuple[float, float, float]):
    with pytest.raises(DataError, match="add up to 1"):
        SplitRule(*shares)


def test_validation_is_carved_from_given_training_pictures(tmp_path: Path):
    root = tmp_path / "faces"
    fill(root, "real", "cam", range(60), "train")
    fill(root, "real", "cam", range(100, 105), "test")
    run(root, tmp_path / "out", crop_rule=CropRule(whole=True))
    splits = {Path(row["original"]).stem: row["split"] for row in rows(tmp_path / "out")}
    assert {splits[str(seed)] for seed in range(100, 105)} == {"test"}
    assert {splits[str(seed)] for seed in range(60)} == {"train", "val"}


def test_validation_is_carved_folder_by_folder(tmp_path: Path):
    """Whether a folder gives val says nothing of another one's pictures, whichever was prepared first."""
    fill(tmp_path / "mine", "real", "cam", range(60), "train")
    fill(tmp_path / "mine", "real", "cam", range(100, 105), "test")
    fill(tmp_path / "whole", "fake", "gan", range(200, 215), "train")
    fill(tmp_path / "whole", "fake", "gan", range(220, 225), "val")
    fill(tmp_path / "plain", "fake", "other", range(300, 330))
    folders = [str(tmp_path / name) for name in ("mine", "whole", "plain")]
    found = {}
    for number in (1, 2, 3):
        run(folders[:number], tmp_path / "out", crop_rule=CropRule(whole=True))
        split = {row["original"]: row["split"] for row in rows(tmp_path / "out")}
        assert {name: split[name] for name in found} == found
        found = split
    cam, gan = ([split for path, split in found.items() if f"/{name}/" in path] for name in ("cam", "gan"))
    assert set(cam) == {"train", "val", "test"}
    assert (gan.count("train"), gan.count("val")) == (15, 5)


def test_demographics_reach_the_manifest(tmp_path: Path):
    save(tmp_path / "faces/real/utkface/30_1_2_20170105174847679.jpg.chip.jpg", picture(1))
    save(tmp_path / "faces/fake/gan/31_0_0_20170105174847679.jpg", picture(2))
    run(tmp_path / "faces", tmp_path / "out")
    fake, real = sorted(PreparedData.load(tmp_path / "out").samples(), key=lambda s: -s.label)
    assert (real.age, real.gender, real.race, real.format) == (30, "female", "asian", "JPEG")
    assert (fake.age, fake.gender, fake.race) == (31, "male", "white")


def test_interrupted_runs_go_on_to_the_same_result(tmp_path: Path, faces: Path):
    run(faces, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(faces, tmp_path / "out", FakeSource(stop_after=10))
    assert not (tmp_path / "out/manifest.csv").exists()
    with pytest.raises(DataError, match="no finished prepared data"):
        PreparedData.load(tmp_path / "out")
    journal = tmp_path / "out/.work/journal.jsonl"
    journal.write_bytes(journal.read_bytes() + b'{"path": "torn')
    summary = run(faces, tmp_path / "out", FakeSource(stop_after=14))
    assert (summary.resumed, summary.unchanged) == (10, False)
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_finished_runs_say_so(tmp_path: Path, faces: Path):
    first = run(faces, tmp_path / "out")
    before = content(tmp_path / "out")
    second = run(faces, tmp_path / "out", FakeSource(stop_after=0))
    assert (first.unchanged, second.unchanged) == (False, True)
    assert second.report == first.report
    assert content(tmp_path / "out") == before


def test_the_report_of_a_later_run_that_found_nothing_is_made_again(tmp_path: Path, faces: Path):
    first = run(faces, tmp_path / "out")
    save(tmp_path / "other/real/a.jpg", picture(1), quality=90).write_bytes(b"broken")
    with pytest.raises(DataError, match="none of 1 pictures"):
        run(tmp_path / "other", tmp_path / "out")
    again = run(faces, tmp_path / "out")
    assert (again.unchanged, again.resumed) == (False, 24)
    assert again.report["counts"] == first.report["counts"]
    assert json.loads((tmp_path / "out/report.json").read_text()) == first.report


def test_lost_crops_and_changed_files_are_done_again(tmp_path: Path, faces: Path):
    run(faces, tmp_path / "out")
    before = content(tmp_path / "out")
    (tmp_path / "out" / rows(tmp_path / "out")[0]["crop"]).unlink()
    summary = run(faces, tmp_path / "out")
    assert summary.resumed == 23
    assert content(tmp_path / "out") == before
    save(faces / "real/cam/0.png", picture(77))
    summary = run(faces, tmp_path / "out")
    assert summary.resumed == 23
    assert content(tmp_path / "out") != before
    shutil.rmtree(tmp_path / "out/.work")
    assert run(faces, tmp_path / "out").unchanged
    (faces / "real/cam/1.png").unlink()
    assert run(faces, tmp_path / "out").report["counts"]["kept"] == 23


def test_a_file_that_could_not_be_opened_is_tried_again(
    tmp_path: Path, faces: Path, monkeypatch: pytest.MonkeyPatch
):
    held = str(faces / "real/cam/3.png")
    with monkeypatch.context() as patch:
        read = Path.read_bytes

        def refuse(path: Path) -> bytes:
            if str(path) == held:
                raise PermissionError(13, "Permission denied", held)
            return read(path)

        patch.setattr(Path, "read_bytes", refuse)
        assert run(faces, tmp_path / "out").report["counts"]["unreadable"] == 1
    summary = run(faces, tmp_path / "out")
    assert (summary.unchanged, summary.resumed, summary.report["counts"]["kept"]) == (False, 23, 24)
    assert run(faces, tmp_path / "out").unchanged


def test_the_number_of_workers_plays_no_part(tmp_path: Path, faces: Path):
    (faces / "real/cam/bad.jpg").write_bytes(b"x")
    rule = CropRule(whole=True)
    run(faces, tmp_path / "one", crop_rule=rule)
    run(faces, tmp_path / "two", crop_rule=rule, workers=2)
    assert content(tmp_path / "one") == content(tmp_path / "two")


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"crop_rule": CropRule(margin=1.3)}, "crop"),
        ({"crop_rule": CropRule(tolerant=True)}, "tolerate_truncated"),
        ({"split_rule": SplitRule(seed=1)}, "seed"),
        ({"locator": FakeSource(sha256="11" * 32)}, "locator_sha256"),
    ],
)
def test_other_settings_need_another_folder(tmp_path: Path, faces: Path, change: dict[str, Any], key: str):
    run(faces, tmp_path / "out")
    with pytest.raises(OutputError, match=rf"other settings \({key}: .* then, .* now\); choose another OUT"):
        run(faces, tmp_path / "out", **change)


def test_a_bad_locator_leaves_nothing(tmp_path: Path, faces: Path):
    class Bad(FakeSource):
        def open(self) -> Any:
            raise BundleError("no locator")

    with pytest.raises(BundleError):
        run(faces, tmp_path / "out", locator=Bad())
    assert not (tmp_path / "out").exists()


BAD_OUT: dict[str, tuple[Callable[[Path], Path], str]] = {
    "other files": (lambda r: save(r / "used/a.png", picture(1)).parent, "holds other files"),
    "a file": (lambda r: save(r / "file.png", picture(1)), "is not a folder"),
    "below a file": (lambda r: save(r / "file.png", picture(1)) / "out", "can't"),
    "among the pictures": (lambda r: r / "faces/out", "overlaps"),
    "above the pictures": (lambda r: r, "overlaps"),
}


@pytest.mark.parametrize(("make", "message"), BAD_OUT.values(), ids=BAD_OUT)
def test_bad_output_folders(tmp_path: Path, faces: Path, make: Callable[[Path], Path], message: str):
    with pytest.raises(OutputError, match=message):
        run(faces, make(tmp_path))
