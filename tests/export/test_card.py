import pytest

pytest.importorskip("torch")

from card_inputs import MANIFEST, metrics
from fauxface_export import card


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


def test_names_can_neither_break_a_table_nor_start_a_tag():
    hostile = {"source": "a|b\n# c <script>", "label": "bona_fide", "samples": 1, "bpcer": {"value": 0.5}}
    text = card.render(MANIFEST, metrics(sources=[hostile]))
    assert "| a\\|b # c &lt;script> | bona_fide | 1 |" in text
    assert "<script>" not in text


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
