import itertools
from collections import Counter

import pytest

from fauxface.errors import DataError
from fauxface_train.presets import preset
from fauxface_train.sampling import Plan

SIZES = {("big", 0): 90, ("small", 0): 10, ("gan", 1): 25, ("diffusion", 1): 4}
LABELS = [label for (_, label), size in SIZES.items() for _ in range(size)]
SOURCES = [name for (name, _), size in SIZES.items() for _ in range(size)]


def _plan(**changes):
    return Plan(LABELS, SOURCES, preset("robust").changed(**{"batch": 16, "samples": 1600, **changes}))


def test_each_batch_is_half_real():
    batches = list(_plan().batches())
    assert len(batches) == 100
    for batch in batches:
        assert Counter(LABELS[index] for _, index in batch) == {0: 8, 1: 8}


def test_odd_batches_balance_over_time():
    counts = Counter(LABELS[i] for batch in _plan(batch=5, samples=200).batches() for _, i in batch)
    assert counts == {0: 100, 1: 100}


def test_positions_count_up():
    positions = [position for batch in _plan().batches() for position, _ in batch]
    assert positions == list(range(1600))


@pytest.mark.parametrize(
    ("power", "factors", "expected"),
    [
        (1.0, {}, {"big": 0.9, "small": 0.1, "gan": 25 / 29, "diffusion": 4 / 29}),
        (0.5, {}, {"big": 0.75, "small": 0.25, "gan": 5 / 7, "diffusion": 2 / 7}),
        (0.0, {}, {"big": 0.5, "small": 0.5, "gan": 0.5, "diffusion": 0.5}),
        (0.0, {"sm*": 3.0}, {"big": 0.25, "small": 0.75, "gan": 0.5, "diffusion": 0.5}),
    ],
)
def test_shares_and_draws(power, factors, expected):
    plan = _plan(power=power, source_weights=factors, samples=8000)
    shares = plan.shares[0] | plan.shares[1]
    assert shares == pytest.approx(expected)
    drawn = Counter(SOURCES[index] for batch in plan.batches() for _, index in batch)
    for name, share in expected.items():
        assert drawn[name] / 4000 == pytest.approx(share, abs=0.03)


def test_a_source_gives_all_before_one_repeats():
    drawn = Counter(index for batch in _plan().batches() for _, index in batch)
    for name in set(SOURCES):
        counts = [drawn[index] for index, source in enumerate(SOURCES) if source == name]
        assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("balanced", [True, False])
def test_a_later_start_continues_the_same_batches(balanced):
    plan = _plan(balanced=balanced)
    whole = list(plan.batches())
    assert list(plan.batches(37)) == whole[37:]
    assert whole == list(_plan(balanced=balanced).batches())
    assert whole != list(_plan(balanced=balanced, seed=1).batches())


def test_article_epochs_take_every_picture_once():
    plan = Plan(LABELS, SOURCES, preset("article"))
    assert plan.epoch == 33
    assert plan.steps == 3 * 33
    assert plan.samples == 3 * 129
    flat = [index for batch in plan.batches() for _, index in batch]
    epochs = [flat[129 * n : 129 * (n + 1)] for n in range(3)]
    assert all(sorted(epoch) == list(range(129)) for epoch in epochs)
    assert all(a != b for a, b in itertools.combinations(epochs, 2))


@pytest.mark.parametrize("samples", [3, 129, 130, 1000])
def test_samples_of_shuffled_runs_add_up(samples):
    plan = Plan(LABELS, SOURCES, preset("article").changed(samples=samples))
    drawn = [len(batch) for batch in plan.batches()]
    assert (len(drawn), sum(drawn)) == (plan.steps, plan.samples)
    assert samples <= plan.samples < samples + 4


@pytest.mark.parametrize(("label", "name"), [(0, "fake"), (1, "real")])
def test_an_empty_label_is_one_line(label, name):
    with pytest.raises(DataError, match=f"no {name} pictures"):
        Plan([label] * 5, ["a"] * 5, preset("robust"))


def test_an_unknown_source_weight_is_one_line():
    with pytest.raises(DataError, match="no train source matches 'phone_"):
        _plan(source_weights={"phone_*": 2.0})


SHARPNESS = [10.0 + i for i in range(90)] + [200.0 + i for i in range(10)] + [205.0] * 25 + [30.0] * 4


def _matched(**changes):
    recipe = preset("robust").changed(
        **{"batch": 16, "samples": 8000, "power": 0.0, "matched": 1.0, **changes}
    )
    return Plan(LABELS, SOURCES, recipe, SHARPNESS)


@pytest.mark.parametrize(("matched", "far"), [(1.0, 0.0), (0.5, 0.25), (0.0, 0.5)])
def test_matched_pictures_are_as_sharp_as_the_generated_ones(matched, far):
    drawn = [i for batch in _matched(matched=matched).batches() for _, i in batch if LABELS[i] == 0]
    # Half of the generated pictures are as sharp as "small", half as the twentieth of "big".
    off = [abs(SHARPNESS[i] - 30) > 6 and SHARPNESS[i] < 200 for i in drawn]
    assert sum(off) / len(off) == pytest.approx(far * 0.87, abs=0.03)
    sharp = sum(SHARPNESS[i] >= 200 for i in drawn) / len(drawn)
    assert sharp == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("end", [1.0, 1e6])
def test_generated_pictures_beyond_all_others_meet_more_than_one(end):
    sharpness = [*SHARPNESS[:100], *[end] * 29]
    plan = Plan(LABELS, SOURCES, preset("robust").changed(batch=16, samples=1600, matched=1.0), sharpness)
    met = {i for batch in plan.batches() for _, i in batch if LABELS[i] == 0}
    order = sorted(range(100), key=lambda i: sharpness[i], reverse=end > 1)
    assert 2 <= len(met) <= 10
    assert met == set(order[: len(met)])


def test_matched_batches_stay_half_real_and_go_on_where_they_were():
    whole = list(_matched(matched=0.5).batches())
    assert all(Counter(LABELS[i] for _, i in batch) == {0: 8, 1: 8} for batch in whole)
    assert list(_matched(matched=0.5).batches(37)) == whole[37:]


def test_matching_needs_the_sharpness():
    with pytest.raises(DataError, match="sharpness"):
        _plan(matched=0.5)
