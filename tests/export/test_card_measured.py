import pytest

pytest.importorskip("torch")

from card_inputs import MANIFEST, metrics
from fauxface_export import card


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ("train", "were trained on"),
        ("all", "trained on are among these"),
        ("val", "selected and calibrated on"),
    ],
)
def test_a_split_that_was_seen_is_said_so(split, said):
    for measured in (seen := metrics(split), unseen := metrics("test")):
        measured["data"] |= {"trained_on": "these"}
    assert said in card.render(MANIFEST, seen)
    assert said not in card.render(MANIFEST, unseen)


@pytest.mark.parametrize("split", ["train", "test"])
def test_nothing_is_said_to_be_trained_on_where_it_isn_t_known(split):
    rendered = card.render(MANIFEST, metrics(split))
    assert "Whether the pictures were trained on isn't known." in rendered
    assert "**These pictures were trained on" not in rendered


def test_other_data_than_those_of_the_training_are_said_so():
    said = "Whether some of the pictures were trained on wasn't checked."
    for relation, shown in (("others", True), ("these", False)):
        measured = metrics("test")
        measured["data"] |= {"trained_on": relation}
        assert (said in card.render(MANIFEST, measured)) == shown


@pytest.mark.parametrize(
    ("split", "said"), [("train", "**These pictures were trained on"), ("test", "wasn't checked.")]
)
def test_data_that_joined_the_training_are_said_so(split, said):
    measured = metrics(split)
    measured["data"] |= {"trained_on": "added"}
    rendered = card.render(MANIFEST, measured)
    assert said in rendered
    assert ("The train split of these data joined the training; this split didn't." in rendered) == (
        split == "test"
    )


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("learned_before", "had learned from before wasn't compared with these pictures."),
        ("whole", "These are whole pictures, which a scan judges so with --faces whole alone."),
    ],
)
def test_what_the_measured_pictures_are_is_said(key, said):
    measured = metrics("test")
    assert said not in card.render(MANIFEST, measured)
    measured["data"] |= {"trained_on": "these", key: True}
    assert said in card.render(MANIFEST, measured)


def test_an_operating_point_that_was_fitted_to_the_data_is_said_so():
    said = "The operating point was fitted to pictures of these data"
    measured = metrics("test")
    measured["data"] |= {"fitted_to": True}
    assert said in card.render(MANIFEST, measured)
    assert said not in card.render(MANIFEST, metrics("test"))


def test_faces_that_another_locator_framed_are_said_so():
    said = "The faces were cut by another locator than the bundle's"
    measured = metrics("test")
    assert said not in card.render(MANIFEST, measured)
    measured["data"] |= {"other_locator": True}
    assert said in card.render(MANIFEST, measured)


@pytest.mark.parametrize("relation", ["these", "others"])
def test_how_many_of_the_pictures_were_trained_on_is_said_where_it_was_counted(relation):
    measured = metrics("test")
    measured["data"] |= {"trained_on": relation, "overlap": {"name": "mine", "pictures": 90, "shared": 3}}
    rendered = card.render(MANIFEST, measured)
    assert "3 of the pictures are among the 90 of `mine` for training and validation." in rendered
    assert "wasn't checked" not in rendered
    assert ("These aren't the prepared data" in rendered) == (relation == "others")


DEGRADED = {
    "conditions": {
        "clean": {
            "words": "as stored",
            "auroc": {"value": 0.9},
            "apcer": {"value": 0.1},
            "bpcer": {"value": 0.01},
            "unsure": {"value": 0.05},
            "apcer_per_source": {"gan": {"value": 0.1}},
            "bpcer_per_source": {"camera": {"value": 0.01}},
        },
        "jpeg60": {
            "words": "JPEG, quality 60, 4:2:0",
            "auroc": {"value": 0.85, "low": 0.8, "high": 0.9},
            "auroc_loss": {"value": 0.05, "low": 0.04, "high": 0.06},
            "apcer": {"value": 0.4},
            "bpcer": {"value": 0.02},
            "unsure": {"value": 0.1},
            "flipped": {"value": 0.25},
            "flipped_per_label": {},
            "apcer_per_source": {"gan": {"value": 0.4375, "low": 0.4, "high": 0.5}},
            "bpcer_per_source": {"camera": {"value": 0.0}},
        },
    },
    "worst": {
        "apcer": {"condition": "jpeg60", "source": "gan", "value": 0.4375},
        "bpcer": {"condition": "clean", "source": "camera", "value": 0.01},
    },
}


def test_degradations_come_from_the_metrics():
    text = card.render(MANIFEST, metrics(robustness=DEGRADED))
    assert (
        "| jpeg60 | JPEG, quality 60, 4:2:0 | 0.8500 [0.8000, 0.9000] | 0.0500 [0.0400, 0.0600] | 0.4000 | "
        "0.0200 | 0.1000 | 0.2500 |" in text
    )
    assert "Highest APCER of a source: 0.4375, gan under jpeg60." in text
    assert "Highest BPCER of a source: 0.0100, camera under clean." in text
    assert "Not measured: no degradation" in card.render(MANIFEST, metrics())


def test_media_analysis_documents_kinds_and_error_rates():
    """What NIST SP 800-63A-4, section 3.14, asks to be tested, documented and advised."""
    rows = [{"source": "gan", "label": "fake", "origin": "StyleGAN | 2", "terms": "own"}]
    text = card.render(MANIFEST, metrics(robustness=DEGRADED), rows)
    section = text.partition("## Media analysis as NIST SP 800-63A-4")[2].partition("\n## ")[0]
    assert "| genuine media tested | 5 pictures of 1 sources |" in section
    assert "| attack artefacts tested | 4 pictures of 1 generators |" in section
    assert "| also degraded by | jpeg60 |" in section
    assert "| gan | StyleGAN \\| 2 | 4 | 0.0000 | 0.4375 [0.4000, 0.5000] (jpeg60) |" in section
    assert "**Manual review is advised**" in section


@pytest.mark.parametrize("measured", [None, metrics(sources=[])], ids=["not evaluated", "no sources"])
def test_media_analysis_says_when_nothing_was_tested(measured):
    section = card.render(MANIFEST, measured).partition("## Media analysis")[2].partition("\n## ")[0]
    assert "**Not tested**" in section
    assert "**Manual review is advised**" in section


def test_risk_and_chosen_pairs_come_from_the_metrics():
    found = {"coverage": {"value": 0.875}, "risk": {"value": 0.0625}, "aurc": {"value": 0.0078}, "curve": []}
    pair = {"real": "camera", "fake": "gan", "value": 0.75}
    pairs = {"auroc": None, "subsets": [{"name": "sharp ones", "worst": pair}]}
    text = card.render(MANIFEST, metrics(risk_coverage=found, pairs=pairs))
    assert "Not unsure: 0.8750 of the pictures; of these verdicts 0.0625 are wrong." in text
    assert "Hardest pair of sharp ones: camera against gan, AUROC 0.7500." in text


@pytest.mark.parametrize(("count", "few"), [(9, True), (10, False)])
def test_it_says_that_intervals_of_few_sources_are_too_narrow(count, few):
    sources = [
        {"source": f"{label}{number}", "label": label}
        for label in ("bona_fide", "generated")
        for number in range(count)
    ]
    text = card.render(MANIFEST, metrics(sources=sources))
    assert (f"There are {count} bona fide sources and {count} generated ones." in text) == few


def test_demographic_cells_tell_how_many_faces_they_have():
    rate = {"value": 0.5, "low": 0.25, "high": 0.75, "count": 7, "total": 14}
    text = card.render(
        MANIFEST, metrics(demographics=[{"by": ["gender"], "cell": ["female"], "bpcer": rate}])
    )
    assert "| gender | female | 14 | 7 | 0.5000 [0.2500, 0.7500] |" in text


def test_missing_parts_of_metrics_are_left_out():
    text = card.render(MANIFEST, {"overall": {}})
    assert "### By source" not in text
    assert "Not evaluated" not in text


def gated(limits, without_landmarks=0):
    names = ("failed", "apcer", "bpcer", "unsure", "accuracy_when_decided")
    figures = {name: {"value": 0.125 * number} for number, name in enumerate(names, start=1)}
    return metrics(gates={"limits": limits, "without_landmarks": without_landmarks, **figures})


@pytest.mark.parametrize(
    ("limits", "unknown", "said", "unsaid"),
    [
        (
            {"min_face_px": 40, "max_yaw": 33.0},
            0,
            "17 degrees (the evaluation below doesn't apply these) |",
            "no landmarks",
        ),
        (
            {"min_face_px": 40, "max_yaw": 33.0, "max_roll": 17.0},
            3,
            "Of 3 pictures no landmarks",
            "doesn't apply",
        ),
        ({"min_face_px": 40, "max_yaw": 30.0, "max_roll": 17.0}, 0, "doesn't apply these", "no landmarks"),
    ],
    ids=["one is missing", "all", "another limit"],
)
def test_gates_that_the_evaluation_tried_are_measured(limits, unknown, said, unsaid):
    manifest = MANIFEST | {"gates": {"max_yaw": 33.0, "max_roll": 17.0}}
    text = card.render(manifest, gated(limits, unknown))
    assert (said in text, unsaid in text) == (True, False)
    names = ", ".join(limits)
    assert (
        f"Those on {names} make 0.1250 of the pictures unsure; with them APCER is 0.2500, BPCER 0.3750"
        in text
    )
    assert "A scan applies gates too" not in card.render(manifest, gated({}))


def test_joined_data_that_were_compared_are_not_said_to_be_unchecked():
    measured = metrics("test")
    measured["data"] |= {"trained_on": "added", "overlap": {"name": "a", "pictures": 9, "shared": 0}}
    rendered = card.render(MANIFEST, measured)
    assert "wasn't checked" not in rendered
    assert "0 of the pictures are among the 9 of" in rendered
