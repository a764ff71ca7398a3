import pytest

pytest.importorskip("torch")

from fauxface_export import card

MANIFEST = {
    "name": "test",
    "created": "2026-01-31T12:00:00Z",
    "labels": ["bona_fide", "generated"],
    "input": {"size": 128},
    "crop": {"margin": 1.2, "min_face_px": 40},
    "locator": {
        "file": "locator.onnx",
        "format": "yunet",
        "score_threshold": 0.6,
        "nms_threshold": 0.3,
        "max_side": 1280,
        "min_scale": 0.6,
    },
    "calibration": {"temperature": 1.5, "bias": 0.25, "fitted_on": "val"},
    "thresholds": {"bona_fide_below": 0.3, "generated_from": 0.7, "rule": "by hand"},
    "provenance": {
        "architecture": "resnet18",
        "training": {"machine": {"cpu": "A Processor"}, "seconds": 12.5},
        "data": {
            "manifest_sha256": "ab" * 32,
            "train": {"real": {"camera": 40, "phone": 5}, "fake": {"gan": 30}},
            "val": {"real": {"camera": 4}, "fake": {}},
        },
    },
    "parity": {
        "reference": "eager",
        "limits": {"logit": 1e-4, "probability": 1e-5},
        "rows": [
            {
                "backend": "onnxruntime",
                "inputs": "real",
                "batch": 8,
                "crops": 66,
                "max_logit_difference": 3.25e-6,
                "max_probability_difference": 1e-7,
                "equal_decisions": 1.0,
            }
        ],
        "machine": {"cpu": "Another", "system": "Linux", "threads": 2, "packages": {"torch": "2.15.0"}},
    },
}


def metrics(split="test", **more):
    value = {"value": 0.875, "low": 0.8125, "high": 0.9375}
    return {
        "created": "2026-02-01T00:00:00Z",
        "data": {"name": "faces", "split": split},
        "overall": {"samples": 9, "bona_fide": 5, "generated": 4, "auroc": value},
        "sources": [
            {"source": "camera", "label": "bona_fide", "samples": 5, "bpcer": value},
            {"source": "gan", "label": "generated", "samples": 4, "apcer": {"value": 0.0}},
        ],
    } | more


def test_without_metrics_it_says_not_evaluated():
    text = card.render(MANIFEST, None)
    assert "**Not evaluated.**" in text
    assert "Known failures by source: not evaluated." in text


@pytest.mark.parametrize(
    "said",
    ["not presentation attack detection", "Injection detection", "accusing one", "a person review a verdict"],
)
@pytest.mark.parametrize("measured", [None, metrics()], ids=["not evaluated", "evaluated"])
def test_it_always_says_what_it_is_not_for(said, measured):
    assert said in card.render(MANIFEST, measured)


def test_figures_come_from_the_metrics():
    text = card.render(MANIFEST, metrics())
    assert "| AUROC | 0.8750 [0.8125, 0.9375] |" in text
    assert "camera: 0.8750 [0.8125, 0.9375] of its bona fide called generated." in text
    assert "gan: 0" not in text
    assert "9 pictures, 5 bona fide and 4 generated" in text
    assert "| onnxruntime | real | 8 | 66 | 3.2e-06 | 1e-07 | 100% |" in text
    assert "A Processor" in text


def test_a_source_without_terms_is_said_so():
    rows = [{"source": "camera", "label": "real", "origin": "own", "terms": "CC0"}]
    text = card.render(MANIFEST, None, rows)
    assert "| camera | real | 40 | 4 | own | CC0 |" in text
    assert "| phone | real | 5 | 0 | not stated | not stated |" in text
    assert "| gan | fake | 30 | 0 | not stated | not stated |" in text


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


def test_what_a_variant_was_measured_on_is_said():
    def shown(*data):
        names = ("int8", "fp16")[: len(data)]
        test = {"auroc_loss": 0.001, "flips": 0.002, "samples": 9}
        found = {
            name: {"test": test, "data": {"split": "test", **each}}
            for name, each in zip(names, data, strict=True)
        }
        return card.render(MANIFEST | {"variants": found}, None)

    others = "These aren't the prepared data that the model was trained on."
    assert others not in shown({"trained_on": "these"})
    assert shown({"trained_on": "others"}, {"trained_on": "others"}).count(others) == 1
    assert f"int8: {others}" in shown({"trained_on": "others"}, {"trained_on": "these"})
    assert "The operating point was fitted to pictures of these data" in shown(
        {"trained_on": "these", "fitted_to": True}
    )


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


def test_names_can_neither_break_a_table_nor_start_a_tag():
    hostile = {"source": "a|b\n# c <script>", "label": "bona_fide", "samples": 1, "bpcer": {"value": 0.5}}
    text = card.render(MANIFEST, metrics(sources=[hostile]))
    assert "| a\\|b # c &lt;script> | bona_fide | 1 |" in text
    assert "<script>" not in text


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


@pytest.mark.parametrize(
    ("counts", "said", "shown"),
    [
        ((3, 1, 2, 4, "failures.png"), "All 4 failures:", True),
        ((30, 1, 2, 24, "failures.png"), "The 24 of 31 failures with the lowest probability:", True),
        ((0, 0, 2, 0, None), "so none is shown", False),
    ],
)
def test_failures_are_shown_with_their_counts(counts, said, shown):
    bona_fide, unsure, generated, drawn, file = counts
    found = {
        "pictures": 40,
        "no_face": 7,
        "bona_fide": bona_fide,
        "unsure": unsure,
        "generated": generated,
        "shown": drawn,
        "file": file,
    }
    manifest = MANIFEST | {"provenance": MANIFEST["provenance"] | {"failures": found}}
    text = card.render(manifest, None)
    assert "Of 40 generated pictures that may be shown" in text
    assert (
        f"{bona_fide} were called bona fide, {unsure} unsure and {generated} generated; in 7 no face" in text
    )
    assert said in text
    assert ("](failures.png)" in text) == shown
    assert "Known failures in pictures" not in card.render(MANIFEST, None)


def test_failures_are_counted_by_generator():
    counts = {"no_face": 1, "bona_fide": 2, "unsure": 0, "generated": 4}
    found = {"pictures": 7, **counts, "shown": 2, "file": "failures.png", "generators": {"own|gan": counts}}
    text = card.render(MANIFEST | {"provenance": {"failures": found}}, None)
    assert "| folder | pictures | called bona fide | unsure | called generated | no face found |" in text
    assert "| own\\|gan | 7 | 2 | 0 | 4 | 1 |" in text


def test_it_tells_the_faces_that_chose_the_operating_point():
    row = {"source": "camera", "condition": "clean", "samples": 50, "views": 4, "allowed": 2, "errors": 1.75}
    held = {"bpcer_target": 0.01, "confidence": 0.95, "real_sources": [row, row | {"condition": None}]}
    text = card.render(MANIFEST | {"provenance": {"held": held}}, None)
    assert "a BPCER of at most 0.01 (one-sided binomial test, 0.95)" in text
    assert "| camera | clean | 50 | 1.75 | 2 |" in text
    assert "| camera | as given | 50 | 1.75 | 2 |" in text
    assert "faces that chose it" not in card.render(MANIFEST, None)


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


@pytest.mark.parametrize(
    ("gates", "said"),
    [
        (None, "| unsure | between; a face smaller than 40 px |"),
        (
            {"min_sharpness": 3.5, "max_yaw": 33.0, "max_roll": 17.0},
            "| unsure | between; a face smaller than 40 px; a sharpness below 3.5 (variance of the Laplacian "
            "at 128 px); a head turned aside by more than 33 degrees; a head tilted by more than 17 degrees "
            "(the evaluation below doesn't apply these) |",
        ),
    ],
    ids=["none", "all"],
)
def test_the_operating_point_names_every_gate(gates, said):
    manifest = MANIFEST if gates is None else MANIFEST | {"gates": gates}
    assert said in card.render(manifest, None)


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


@pytest.mark.parametrize(
    ("inherited", "said"),
    [
        (["locator.onnx"], ["that of fauxface's default bundle"]),
        (["initial weights"], ["from the weights of a bundle"]),
        (["locator.onnx", "initial weights"], ["that of fauxface's default bundle", "from the weights of"]),
        (["teachers"], ["The answers of a bundle were learned"]),
        (["golden.npz"], ["`golden.npz` holds crops of the generated faces that come with fauxface"]),
        ([], []),
    ],
)
def test_what_came_under_another_licence_is_named(inherited, said):
    manifest = MANIFEST | {"provenance": MANIFEST["provenance"] | {"inherited": inherited}}
    licence = card.render(manifest, None).partition("## Licence")[2]
    for sentence in (
        "that of fauxface's default",
        "from the weights of",
        "answers of a bundle",
        "`golden.npz`",
    ):
        assert (sentence in licence) == any(sentence in each for each in said)


def test_the_default_locator_in_int8_is_under_its_licence_too():
    manifest = MANIFEST | {"provenance": MANIFEST["provenance"] | {"inherited": ["locator.onnx"]}}
    assert "locator.int8.onnx" not in card.render(manifest, None)
    manifest["locator"] = MANIFEST["locator"] | {"int8": "locator.int8.onnx"}
    assert "`locator.onnx` (with `locator.int8.onnx`) is that of" in card.render(manifest, None)


def test_a_precision_that_was_measured_without_fp32_contradicts_nothing():
    test = {"auroc_loss": 0.0, "flips": 0.01, "samples": 200}
    manifest = MANIFEST | {"variants": {"int8": {"test": test}}}
    text = card.render(manifest, None)
    assert "of which the evaluation below is" not in text
    assert "no error rate of the fp32 classifier is known" in text
    assert "What was measured of other precisions stands above." in text
    measured = card.render(manifest | {"metrics": {"overall": {}}}, metrics())
    assert "of which the evaluation below is" in measured


def test_a_model_of_whole_pictures_is_said_to_be_one():
    assert "times the longer side of the face box" in card.render(MANIFEST, None)
    whole = MANIFEST | {"provenance": MANIFEST["provenance"] | {"training": {"faces": "whole"}}}
    rendered = card.render(whole, None)
    assert "**trained on whole pictures, for scans with --faces whole alone**" in rendered
    assert "longer side of the face box" not in rendered


def test_joined_data_that_were_compared_are_not_said_to_be_unchecked():
    measured = metrics("test")
    measured["data"] |= {"trained_on": "added", "overlap": {"name": "a", "pictures": 9, "shared": 0}}
    rendered = card.render(MANIFEST, measured)
    assert "wasn't checked" not in rendered
    assert "0 of the pictures are among the 9 of" in rendered
