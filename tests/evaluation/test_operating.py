from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import binomtest

from aoi_tl.evaluation import operating
from aoi_tl.evaluation.operating import (
    CLASSES,
    FEW_GOOD,
    IMAGES,
    choose_thresholds,
    image_scores,
    measure_rates,
)
from aoi_tl.evaluation.predictions import Predictions, join_predictions


def predictions(held: list[set[int]], scores: np.ndarray) -> Predictions:
    """One box for each class that an image holds, and one for each score above 0."""
    image, label = np.nonzero(scores)
    truth = [(i, c) for i, classes in enumerate(held) for c in sorted(classes)]
    where, what = np.array(truth, dtype=np.int64).reshape(-1, 2).T
    box = np.array([[0.1, 0.1, 0.3, 0.3]])
    return Predictions(
        tuple("abcdefgh"[:scores.shape[1]]), tuple(f"{i}.png" for i in range(len(held))),
        where, what, np.repeat(box, len(where), 0), image, label, scores[image, label],
        np.repeat(box, len(image), 0), np.zeros((len(image), 10), bool),
    )


def drawn(n: int, n_classes: int, seed: int, skill: float = 1.0, good: float = 0.6) -> Predictions:
    """Images of which a share is good; scores of held classes lie higher by the skill."""
    chance = np.random.default_rng(seed)
    held = [set() if chance.random() < good else {int(chance.integers(n_classes))}
            for _ in range(n)]
    logit = chance.normal(-2, 1, (n, n_classes))
    for i, classes in enumerate(held):
        for c in classes:
            logit[i, c] += skill
    return predictions(held, 1 / (1 + np.exp(-logit)))


def test_by_hand() -> None:
    scores = np.array([[0.9, 0], [0.8, 0], [0.3, 0.6], [0, 0.2]] + [[0.5, 0.1]] * FEW_GOOD)
    seen = predictions([{0}, {0}, {1}, {1}] + [set()] * FEW_GOOD, scores)
    whole, a, _ = measure_rates(seen, [0.7, 0.15])
    assert (whole.name, whole.defective, whole.good) == (None, 4, FEW_GOOD)
    assert (whole.escape.value, whole.overkill.value) == (0, 0)
    assert (a.name, a.defective, a.good) == ("a", 2, FEW_GOOD + 2)
    missed = measure_rates(seen, [0.85, 0.7])
    assert [row.escape.value for row in missed] == [0.75, 0.5, 1.0]
    assert [row.overkill.value for row in measure_rates(seen, [0.4, 1.0])] == [
        1.0, FEW_GOOD / (FEW_GOOD + 2), 0.0
    ]


def test_separable_classes_are_separated_half_way() -> None:
    scores = np.array([[0.9, 0]] * 20 + [[0, 0.4]] * 20 + [[0.5, 0.1]] * 40)
    held = [{0}] * 20 + [{1}] * 20 + [set()] * 40
    for aim in ({"escape": 0.0}, {"overkill": 0.0}, {"cost": (1.0, 1.0)}):
        point = choose_thresholds(predictions(held, scores), **aim)
        assert point.thresholds == (0.7, 0.25)
        assert (point.escaped, point.rejected, point.counted) == (0, 0, IMAGES)
        assert point.is_met
        assert point.escape_at_most == pytest.approx(
            binomtest(0, 40).proportion_ci(0.90, "exact").high
        )


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("aim", [
    {"escape": 0.0}, {"escape": 0.2}, {"overkill": 0.1}, {"cost": (10.0, 1.0)},
])
def test_the_search_finds_what_trying_all_cuts_finds(seed: int, aim: dict) -> None:
    seen = drawn(40, 2, seed, skill=2.0, good=0.5)
    scores, held = image_scores(seen), operating.true_classes(seen)
    units = operating._Units(scores, held, IMAGES)
    level = operating._Level(aim.get("escape"), aim.get("overkill"))
    objective = operating._objective(units, level.escape, level.overkill, aim.get("cost"))
    found = operating._choose(units, level, aim.get("cost"))
    cuts = [np.concatenate(([np.inf], np.unique(column))) for column in scores.T]
    best = min(tuple(map(float, objective(*units.counts(cut))))[:2]
               for cut in itertools.product(*cuts))
    ours = tuple(map(float, objective(*units.counts(found))))[:2]
    assert ours[0] == best[0]  # the limit, or the cost
    if "cost" not in aim:  # moved one at a time, cuts can end an image off the best pair of cuts
        assert ours[1] <= best[1] + 1


def test_a_limit_is_kept_on_images_that_had_no_part_in_the_choice() -> None:
    rates = {"escape": [], "overkill": []}
    for seed in range(20):
        seen, other = drawn(200, 4, seed, skill=3.0), drawn(400, 4, 1000 + seed, skill=3.0)
        for name, found in rates.items():
            point = choose_thresholds(seen, **{name: 0.1})
            assert point.is_met
            found.append(getattr(measure_rates(other, point.thresholds, 2)[0], name).value)
    for found in rates.values():
        assert np.mean(found) < 0.11


def test_thresholds_chosen_without_holding_out_do_not_keep_it() -> None:
    rates = []
    for seed in range(20):
        seen, other = drawn(200, 4, seed, skill=3.0), drawn(400, 4, 1000 + seed, skill=3.0)
        units = operating._Units(image_scores(seen), operating.true_classes(seen), IMAGES)
        chosen = operating._choose(units, operating._Level(0.1), None)
        rates.append(measure_rates(other, chosen, 2)[0].escape.value)
    assert np.mean(rates) > 0.11


def test_without_good_images_classes_of_images_are_counted() -> None:
    seen = drawn(60, 3, 0, skill=3.0, good=0.0)
    point = choose_thresholds(seen, escape=0.1)
    assert point.counted == CLASSES
    assert (point.defective, point.good) == (60, 120)
    whole, *classes = measure_rates(seen, point.thresholds)
    assert whole.overkill is None
    assert all(row.overkill is not None for row in classes)


def test_a_single_class_on_every_image_has_no_good_side() -> None:
    scores = np.linspace(0.1, 0.9, 10)[:, None]
    seen = predictions([{0}] * 10, scores)
    point = choose_thresholds(seen, escape=0.2)
    assert point.overkill is None
    assert 0 < point.thresholds[0] < 0.5
    for aim in ({"overkill": 0.1}, {"cost": (1.0, 1.0)}):
        with pytest.raises(ValueError, match="expected a good image"):
            choose_thresholds(seen, **aim)


def test_a_limit_out_of_reach_is_said_to_be_missed() -> None:
    held = [{0}] * 20 + [set()] * 40  # a quarter of the defective images has no box at all
    scores = np.array([[0.9]] * 15 + [[0.0]] * 45)
    point = choose_thresholds(predictions(held, scores), escape=0.1)
    assert not point.is_met
    assert point.escaped == 5


def test_a_class_that_was_never_seen_still_rejects() -> None:
    held = [{0}] * 20 + [set()] * 40
    scores = np.array([[0.9, 0.0]] * 20 + [[0.2, 0.3]] * 40)
    point = choose_thresholds(predictions(held, scores), escape=0.0)
    assert point.thresholds[1] == 0.65


def test_too_little_to_choose_on() -> None:
    scores = np.full((40, 1), 0.5)
    for held in ([set()] * 40, [{0}, *[set()] * 39]):
        with pytest.raises(ValueError, match="two or more images with a defect"):
            choose_thresholds(predictions(held, scores), escape=0.1)
    with pytest.raises(ValueError, match="one of escape"):
        choose_thresholds(predictions([{0}] * 40, scores))
    with pytest.raises(ValueError, match="a threshold for each"):
        measure_rates(predictions([{0}] * 40, scores), [0.1, 0.2])


def test_intervals_hold_the_rate_and_shrink_with_more_images() -> None:
    widths = []
    for n in (100, 1600):
        seen = drawn(n, 2, 3, skill=2.0)
        whole = measure_rates(seen, [0.4, 0.4])[0]
        assert whole.escape.low < whole.escape.value < whole.escape.high
        share = binomtest(round(whole.escape.value * whole.defective), whole.defective)
        exact = share.proportion_ci(method="exact")
        assert whole.escape.low == pytest.approx(exact.low, abs=0.05)
        assert whole.escape.high == pytest.approx(exact.high, abs=0.05)
        widths.append(whole.escape.high - whole.escape.low)
    assert widths[1] < widths[0] / 3


def test_a_rate_of_zero_has_an_interval_all_the_same() -> None:
    seen = predictions([{0}] * 30 + [set()] * 30, np.array([[0.9]] * 30 + [[0.1]] * 30))
    whole = measure_rates(seen, [0.5])[0]
    exact = binomtest(0, 30).proportion_ci(method="exact")
    assert (whole.escape.value, whole.escape.low) == (0, 0)
    assert whole.escape.high == pytest.approx(exact.high)


def test_joined_predictions_keep_their_images() -> None:
    one, other = drawn(10, 2, 0), drawn(15, 2, 1)
    both = join_predictions([one, other])
    assert len(both.images) == 25
    assert np.allclose(image_scores(both), np.vstack([image_scores(one), image_scores(other)]))
    with pytest.raises(ValueError, match="one list of classes"):
        join_predictions([one, drawn(5, 3, 0)])


def test_a_share_leaves_out_a_fortieth_at_both_ends() -> None:
    # As many as of 20 coins show heads: fewer than 6 have a chance of 0.021, fewer than 7 0.058.
    among, counted = np.ones(20, bool), np.arange(20) < 10
    drawn = np.random.default_rng(0).multinomial(20, np.full(20, 1 / 20), size=20_000)
    share = operating._share(counted, among, drawn, 0.95)
    assert share is not None
    assert (share.value, share.low, share.high) == pytest.approx((0.5, 0.3, 0.7))


def test_the_chosen_point_tells_its_own_rates() -> None:
    seen = drawn(80, 2, seed=3, skill=1.0)
    point = choose_thresholds(seen, escape=0.3)
    assert 0 < point.escaped < point.defective
    assert point.escape == point.escaped / point.defective
    assert point.overkill == point.rejected / point.good
    assert point.escape < point.escape_at_most < 1
