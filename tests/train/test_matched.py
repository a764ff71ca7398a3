import numpy as np
import pytest

from fauxface.errors import DataError

metrics = pytest.importorskip("fauxface_train.metrics")
matched = pytest.importorskip("fauxface_train.matched")

SCORED = metrics.Scored(
    np.array([0.1, 0.6, 0.2, 0.9, 0.5, 0.95]),
    np.array([0, 0, 0, 1, 1, 1]),
    np.array(["ffhq_a", "ffhq_b", "utkface", "sg1", "sg2", "sdxl"]),
)


def found(*texts):
    wanted = [matched.Subset.parse(text) for text in texts]
    table = metrics.pairs(SCORED, replicates=2)
    return matched.subsets(table, [(subset.name, *subset.sources(SCORED)) for subset in wanted])


def test_subset_names_its_worst_pair():
    (got,) = found("sharp portraits = ffhq* : sg1, sg2")
    assert got["name"] == "sharp portraits"
    assert (got["real_sources"], got["fake_sources"]) == (["ffhq_a", "ffhq_b"], ["sg1", "sg2"])
    assert got["pairs"] == 4
    assert (got["worst"]["real"], got["worst"]["fake"], got["worst"]["value"]) == ("ffhq_b", "sg2", 0.0)
    assert got["median"]["value"] == 1.0


def test_a_source_that_two_patterns_name_counts_once():
    assert [part["pairs"] for part in found("a=ffhq*,ffhq_a:sg?", "b=*:*")] == [4, 9]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("sharp", "can't read the pairs 'sharp'; write NAME="),
        ("sharp=ffhq*", "can't read the pairs"),
        ("=ffhq*:sg*", "can't read the pairs"),
        ("sharp=ffhq*:", "can't read the pairs"),
        ("sh\udcffarp=ffhq*:sg*", "can't be printed; write it in UTF-8"),
        ("two\nlines=ffhq*:sg*", "can't be printed"),
        ("sharp=ffhq*:stylegan*", r"no fake source is called 'stylegan\*'; there are sdxl, sg1, sg2"),
        ("sharp=sg1:sg2", "no real source is called 'sg1'; there are ffhq_a, ffhq_b, utkface"),
    ],
)
def test_bad_pairs_are_refused(text, match):
    with pytest.raises(DataError, match=match):
        found(text)


def test_where_a_label_is_missing_it_is_said():
    with pytest.raises(DataError, match="no fake source is called 'b'; there are none"):
        matched.Subset.parse("x=a:b").sources(metrics.Scored(np.zeros(1), np.zeros(1, int), np.array(["a"])))


def test_one_label_has_no_subsets():
    assert matched.subsets({"auroc": None, "reason": "needs both"}, [("a", ["x"], ["y"])]) == []
