import hashlib
import json
import re
from functools import partial

import pytest

pytest.importorskip("torch")

import harness
import tables
from fauxface.bundle import DEFAULT_BUNDLE, MANIFEST_NAME
from fauxface.errors import GateError

SHIPPED = hashlib.sha256((DEFAULT_BUNDLE / MANIFEST_NAME).read_bytes()).hexdigest()
MACHINE = {"cores": 2, "cpu": "Some CPU", "instruction_sets": ["avx2", "avx512_vnni"]}


def result(name, **fields):
    rows = [
        {"configuration": "article", "case": "batch 1", "seconds_per_unit": 0.02, "rounds": [0.02]},
        {"configuration": "fauxface int8", "case": "batch 1", "seconds_per_unit": 0.004, "rounds": [0.004]},
    ]
    ratio = {
        "of": "fauxface int8",
        "against": "article",
        "case": "batch 1",
        "value": 5.04,
        "low": 4.9,
        "high": 5.1,
    }
    return {
        "format": harness.FORMAT,
        "benchmark": name,
        "trial": False,
        "machine": MACHINE,
        "model": SHIPPED,
        "settings": {"rounds": 15, "skipped": []},
        "rows": rows,
        "ratios": [ratio],
        "claims": [
            {"claim": f"of {name}", "value": 5.04, "low": 4.9, "high": 5.1, "aim": 5.0, "holds": True}
        ],
        "agreement": {"clip": {"fauxface int8": {"article": AGREEMENT}}},
        "roofs": {"ops_per_s": {"int8": 4e11}, "product": {"int8": "MatMulInteger 1024"}},
        "points": [
            {
                "precision": "int8",
                "case": "batch 8",
                "ops_per_s": 3e11,
                "share": 0.75,
                "low": 0.74,
                "high": 0.76,
            }
        ],
        **fields,
    }


REQUIRED = [
    *tables.REQUIRED[:3],
    f"{tables.REQUIRED[3]}, batch 32",
    tables.REQUIRED[4],
    *(f"video, fauxface int8 against yunet + article, batch 1{text}" for text in tables.REQUIRED_OF_A_CLIP),
]
AGREEMENT = {"ours": 30, "theirs": 40, "both": 28, "equal": 28, "agreement": 1.0, "located": None}


@pytest.fixture
def folder(tmp_path):
    for name in tables.NAMES:
        (tmp_path / f"{name}.json").write_text(json.dumps(result(name)))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        (
            "classifier",
            [
                "2 cores of Some CPU (avx2, avx512_vnni), 15 rounds "
                "([classifier.json](results/classifier.json), [classifier.png](results/classifier.png)):",
                "| case | configuration | ms per face | speed against article | 95 % interval |",
                "| batch 1 | article | 20 | 1 x |  |",
                "| batch 1 | fauxface int8 | 4 | 5.04 x | 4.9 to 5.1 |",
            ],
        ),
        (
            "video",
            [
                "| case | configuration | frames/s | speed against article | 95 % interval |",
                "| batch 1 | fauxface int8 | 250 | 5.04 x | 4.9 to 5.1 |",
                "| clip | fauxface int8 | article | 30 | 40 | 28 | 100.0% | - |",
            ],
        ),
        ("training", ["| batch 1 | article | 50 | 1 x |  |"]),
        ("roofline", ["| int8 | 8 | 300 | MatMulInteger 1024 | 400 | 75.0% | 74.0% to 76.0% |"]),
        ("claims", ["| of video | 5.04 | 4.9 to 5.1 | 5 | yes |"]),
    ],
)
def test_a_block_says_what_the_result_says(folder, name, lines):
    section = tables.sections(folder)[name].splitlines()
    for line in lines:
        assert line in section


@pytest.mark.parametrize(
    ("rounds", "value"),
    [
        ([0.02, 0.0205, 0.021], "20"),
        ([0.02, 0.02, 0.03], "20 (20 to 25)"),
        ([0.01, 0.02, 0.02], "20 (15 to 20)"),
    ],
)
def test_rounds_that_lie_far_apart_are_shown(folder, rounds, value):
    row = {"configuration": "article", "case": "batch 1", "seconds_per_unit": 0.02, "rounds": rounds}
    (folder / "classifier.json").write_text(json.dumps(result("classifier", rows=[row])))
    assert f"| batch 1 | article | {value} | 1 x |  |" in tables.sections(folder)["classifier"]


def test_a_missed_claim_and_what_was_skipped_are_shown(folder):
    missed = {"claim": "slow", "value": 0.9, "aim": 0.98, "holds": False}
    changed = result("video", claims=[missed], settings={"rounds": 5, "skipped": ["mtcnn", "opencv"]})
    (folder / "video.json").write_text(json.dumps(changed))
    found = tables.sections(folder)
    assert "| slow | 0.9 |  | 0.98 | **no** |" in found["claims"]
    assert "5 rounds, without mtcnn, opencv" in found["video"]


@pytest.mark.parametrize(
    ("settled", "cell"), [(None, "20"), (True, "20"), (False, "20, not settled")], ids=["none", "yes", "no"]
)
def test_a_row_that_did_not_settle_says_so(folder, settled, cell):
    changed = result("classifier")
    changed["rows"][0]["settled"] = settled
    (folder / "classifier.json").write_text(json.dumps(changed))
    assert f"| batch 1 | article | {cell} | 1 x |  |" in tables.sections(folder)["classifier"]


def test_claims_of_another_folder_are_printed_and_no_page_is_written(folder, monkeypatch, capsys):
    monkeypatch.setattr(tables, "PAGES", {folder / "README.md": "elsewhere"})
    monkeypatch.setattr("sys.argv", ["tables.py", "--results", str(folder)])
    tables.main()
    out = capsys.readouterr().out
    assert out.startswith(f"{folder}\n| claim |")
    assert "| of video | 5.04 | 4.9 to 5.1 | 5 | yes |" in out
    assert not (folder / "README.md").exists()


@pytest.mark.parametrize(
    ("name", "model", "said"),
    [
        ("video", "0" * 64, True),
        ("video", None, True),
        ("video", SHIPPED, False),
        ("training", "0" * 64, False),
    ],
)
def test_another_model_is_named_where_one_was_measured(folder, name, model, said):
    (folder / f"{name}.json").write_text(json.dumps(result(name, model=model)))
    text = "15 rounds, not with the shipped model ("
    assert (text in tables.sections(folder)[name]) is said


def test_what_was_not_measured_says_so(tmp_path):
    found = tables.sections(tmp_path)
    assert set(found) == {*tables.NAMES, "claims"}
    assert set(found.values()) == {tables.NOTHING}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "can't read"),
        ('{"format": "other/1"}', "isn't a result of"),
        ("[]", "isn't a result of"),
        (json.dumps(result("classifier")), "holds results of 'classifier'"),
        (json.dumps(result("video", trial=True)), "busy machine"),
        (json.dumps(result("video", settings={"rounds": 4, "skipped": []})), "4 rounds, too few"),
        (json.dumps(result("video", machine={})), "lacks something: KeyError"),
    ],
)
def test_a_result_that_cannot_be_used_is_one_line(folder, content, message):
    (folder / "video.json").write_text(content)
    with pytest.raises(tables.ResultError, match=message) as raised:
        tables.sections(folder)
    assert "\n" not in str(raised.value)


def test_filling_exchanges_blocks_and_nothing_else():
    text = (
        "before\n<!-- results: a -->\nold\nold\n<!-- /results -->\nbetween\n"
        "<!-- results: b -->\n<!-- /results -->\n"
    )
    filled = tables.fill(text, {"a": r"new \1", "b": "| x |"})
    assert filled == (
        "before\n<!-- results: a -->\nnew \\1\n<!-- /results -->\nbetween\n"
        "<!-- results: b -->\n| x |\n<!-- /results -->\n"
    )
    assert tables.fill(filled, {"a": r"new \1", "b": "| x |"}) == filled


@pytest.mark.parametrize("found", [{}, {"a": "", "b": ""}])
def test_a_block_without_a_benchmark_or_the_reverse_is_refused(found):
    with pytest.raises(GateError, match="disagree on the blocks"):
        tables.fill("<!-- results: a -->\n<!-- /results -->\n", found)


@pytest.mark.parametrize("page", tables.PAGES, ids=lambda page: page.name)
def test_a_page_is_what_the_committed_results_say(page):
    text = page.read_text(encoding="utf-8")
    assert tables.fill(text, tables.sections(page.parent / tables.PAGES[page], tables.PAGES[page])) == text, (
        "run python benchmarks/tables.py"
    )


@pytest.mark.parametrize("detailed", [True, False])
def test_labels_and_probabilities_are_shown_where_a_result_has_them(folder, detailed):
    more = {"labels": {"generated": 3, "bona_fide": 25}, "p_difference": {"mean": 0.01234, "max": 0.2}}
    none = {"labels": {}, "p_difference": None}
    own = {"article": AGREEMENT | more, "other": AGREEMENT | none}
    if detailed:
        changed = result("video", agreement={"clip": {"fauxface int8": own}})
        (folder / "video.json").write_text(json.dumps(changed))
    section = tables.sections(folder)["video"]
    shown = "| article | 30 | 40 | 28 | 100.0% | - | 25 bona_fide, 3 generated | 0.012 (0.200) |"
    assert (shown in section) is detailed
    assert ("| 100.0% | - | - | - |" in section) is detailed
    assert ("labels" in section) is detailed
    table = section.splitlines()[-4 if detailed else -3 :]
    assert len({line.count("|") for line in table}) == 1


def test_the_committed_results_lack_no_claim():
    assert tables.missing(tables.read(tables.README.parent / tables.PAGES[tables.README]), tables.CLIPS) == []


def test_a_claim_that_is_missing_is_named(folder):
    documents = tables.read(folder)
    missing = partial(tables.missing, documents, clips=())
    documents["video"]["claims"] = [{"claim": text} for text in REQUIRED]
    assert missing() == []
    for text in REQUIRED:
        documents["video"]["claims"] = [{"claim": other} for other in REQUIRED if other != text]
        assert missing() == [text.removesuffix(", batch 32")]
    other_clip = [{"claim": text.replace("article, batch 1", "article, demo")} for text in REQUIRED]
    documents["video"]["claims"] = other_clip
    assert len(missing()) == 3
    documents["video"]["rows"] = [{"case": "demo"}]
    assert missing() == []
    del documents["video"]
    assert "video, fauxface int8 against yunet + article, portrait" in missing(clips=("portrait",))


def test_every_clip_of_the_main_page_must_be_there():
    documents = tables.read(tables.README.parent / tables.PAGES[tables.README])
    video = documents["video"]
    for key, name in (("rows", "case"), ("claims", "claim")):
        video[key] = [row for row in video[key] if "portrait" not in row[name]]
    found = tables.missing(documents, tables.CLIPS)
    assert len(found) == 3
    assert all("portrait" in text for text in found)


NOT_REACHED = tables.NOT_REACHED[:1]
REACHED = tuple(claim for claim in REQUIRED if claim not in NOT_REACHED)


@pytest.mark.parametrize(
    ("holds", "stale", "claims", "message"),
    [
        (REACHED, False, REQUIRED, None),
        ((), False, REQUIRED, "7 claims don't hold"),
        (REACHED[1:], False, REQUIRED, f"1 claims don't hold: {REACHED[0]}"),
        (REQUIRED, False, REQUIRED, f"{NOT_REACHED[0]}: holds now"),
        (REACHED, True, REQUIRED, "isn't what the results say"),
        (REACHED, False, REQUIRED[1:], f"lack claims: {REQUIRED[0]}; measure"),
    ],
)
def test_check_fails_where_it_should(monkeypatch, folder, holds, stale, claims, message):
    found = [{"claim": text, "value": 1.0, "aim": 1.0, "holds": text in holds} for text in claims]
    for name in tables.NAMES:
        content = result(name, claims=found if name == "video" else [])
        (folder / f"{name}.json").write_text(json.dumps(content))
    blocks = "".join(f"<!-- results: {n} -->\n<!-- /results -->\n" for n in (*tables.NAMES, "claims"))
    readme = folder / "README.md"
    readme.write_text(blocks)
    monkeypatch.setattr(tables, "README", readme)
    monkeypatch.setattr(tables, "PAGES", {readme: "."})
    monkeypatch.setattr(tables, "CLIPS", ())
    monkeypatch.setattr(tables, "NOT_REACHED", NOT_REACHED)
    monkeypatch.setattr(harness, "RESULTS", folder)
    if not stale:
        monkeypatch.setattr("sys.argv", ["tables.py"])
        tables.main()
    monkeypatch.setattr("sys.argv", ["tables.py", "--check"])
    if message is None:
        tables.main()
        return
    with pytest.raises(GateError, match=message):
        tables.main()


@pytest.mark.parametrize("page", tables.PAGES, ids=lambda page: page.name)
def test_links_of_a_page_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert targets
    for target in targets:
        assert (page.parent / target).exists(), target
