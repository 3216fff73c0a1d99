"""The tests of differences: their numbers, and how often they are wrong where nothing differs."""

import math

import numpy as np
import pytest

from streamnorm.report._compare_runs import Run
from streamnorm.report.comparison import Comparison
from streamnorm.report.significance import corrected_t_test, holm, t_quantile, two_sided_p

SEED = 20030901
RTOL = 1e-9  # of p-values and quantiles, to SciPy's
FOLDS, SEEDS, RATIO = 5, 3, 0.25
LEVEL = 0.05
DATA_SETS = 4_000
THREE_ERRORS = 3 * math.sqrt(LEVEL * (1 - LEVEL) / DATA_SETS)  # of a share that is LEVEL


def fold_scores(rng, options, datasets=1, shift=0.0, repeated=True):
    """Scores (datasets, options, seeds * folds) whose differences depend on each other as Nadeau and Bengio take it:
    with the correlation n_test / (n_test + n_train). With folds that are not dealt anew, half of what a run has of its
    own is the fold's."""
    shared = RATIO / (1 + RATIO)
    common = rng.normal(size=(datasets, options, 1)) * math.sqrt(shared)
    own = rng.normal(size=(datasets, options, FOLDS * SEEDS)) * math.sqrt(1 - shared)
    if not repeated:
        of_folds = np.tile(rng.normal(size=(datasets, options, FOLDS)), SEEDS) * math.sqrt(1 - shared)
        own = (own + of_folds) / math.sqrt(2)
    easy = rng.normal(size=(datasets, 1, FOLDS * SEEDS))  # some folds are easier for all
    scores = 0.5 + 0.02 * (common + own) + 0.05 * easy
    scores[:, 0] += shift
    return scores


def comparison(scores, scalers, norms, repeated=True):
    """A comparison whose runs have these scores."""
    names = [(scaler, norm) for scaler in scalers for norm in norms]
    runs = [
        Run(*name, i // FOLDS, i % FOLDS, 400, 100, 1 - float(score), (1.0, 1 - float(score)), False, 0.1)
        for name, own in zip(names, scores, strict=True)
        for i, score in enumerate(own)
    ]
    settings = {
        "scalers": dict.fromkeys(scalers), "norms": norms, "target": ["y"], "target_std": [1.0], "features": ["x"],
        "rows": 500, "source_rows": 500, "left_out": 0, "batch_size": 32, "split": "random", "folds": FOLDS,
        "repeated_folds": repeated, "seeds": list(range(SEEDS)), "alpha": LEVEL, "reach": None, "mean_loss": 1.0,
        "notes": [], "model": {}, "sample": "", "group": None, "time": None,
    }  # fmt: skip
    return Comparison(settings, runs)


@pytest.mark.parametrize("df", [1, 2, 4, 14, 99, 1500])
def test_student_t_is_that_of_scipy(df):
    stats = pytest.importorskip("scipy.stats")
    for t in (0.001, 0.3, 1.0, 2.2, 4.6, 11.0, 60.0):
        assert two_sided_p(t, df) == pytest.approx(2 * stats.t.sf(t, df), rel=RTOL)
        assert two_sided_p(-t, df) == two_sided_p(t, df)
    for confidence in (0.5, 0.95, 0.999):
        assert t_quantile(confidence, df) == pytest.approx(stats.t.ppf((1 + confidence) / 2, df), rel=RTOL)
    assert two_sided_p(0.0, df) == 1.0 and two_sided_p(math.inf, df) == 0.0


def test_corrected_test_by_hand():
    differences = [0.03, 0.05, 0.04, 0.02, 0.04]
    test = corrected_t_test(differences, RATIO)
    error = math.sqrt((1 / 5 + RATIO) * np.var(differences, ddof=1))
    assert test.difference == pytest.approx(0.036) and test.error == pytest.approx(error) and test.df == 4
    assert test.p == pytest.approx(two_sided_p(0.036 / error, 4))
    low, high = test.interval(0.95)
    assert low == pytest.approx(0.036 - 2.7764451 * error, rel=1e-6) and low + high == pytest.approx(0.072)


def test_differences_without_spread():
    assert corrected_t_test([0.0, 0.0, 0.0], RATIO).p == 1.0
    assert corrected_t_test([0.5, 0.5, 0.5], RATIO).p == 0.0
    with pytest.raises(ValueError, match="at least two"):
        corrected_t_test([0.5], RATIO)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
    p = [0.001, 0.2, 0.03]
    assert holm(p, [7.0, 7.0, 7.0]) == pytest.approx(holm(p))
    # Half of the level for the first, a quarter for each of the others.
    assert holm([0.02, 0.02, 0.9], [0.5, 0.25, 0.25]) == pytest.approx([0.04, 0.04, 0.9])


def test_false_alarms_of_one_test_are_as_many_as_promised():
    scores = fold_scores(np.random.default_rng(SEED), 2, DATA_SETS)
    differences = scores[:, 0] - scores[:, 1]
    corrected = np.mean([corrected_t_test(each, RATIO).p < LEVEL for each in differences])
    naive = np.mean([corrected_t_test(each, 0.0).p < LEVEL for each in differences])
    assert abs(corrected - LEVEL) <= THREE_ERRORS
    assert naive > 4 * LEVEL  # what the correction is there for


@pytest.mark.parametrize("repeated", [True, False])
def test_false_alarms_of_a_whole_comparison_are_at_most_one_in_twenty(repeated):
    rng = np.random.default_rng(SEED + 1)
    wrong = 0
    for scores in fold_scores(rng, 6, 300, repeated=repeated):
        found = comparison(scores, ["standard", "minmax", "robust"], ["none", "batch"], repeated)
        assert len(found.pairs) == 15 + 3 + 1
        wrong += any(pair.differs for pair in found.pairs)
    assert wrong <= LEVEL * 300


def test_equal_options_are_no_different_and_a_better_one_is():
    rng = np.random.default_rng(SEED + 2)
    names = ["standard", "minmax", "robust"], ["batch"]
    equal = comparison(fold_scores(rng, 3)[0], *names)
    assert equal.verdict.startswith("No difference: ") and not any(pair.differs for pair in equal.pairs)
    assert sorted(map(equal.standing, equal.figures)) == ["highest", "no difference", "no difference"]
    better = comparison(fold_scores(rng, 3, shift=0.2)[0], *names)
    assert better.verdict.startswith("Standard + batch is better than all 2 others (R² ")
    assert [better.standing(each) for each in better.figures] == ["best", "worse", "worse"]
    assert all(pair.low > 0 for pair in better.pairs if pair.first == "standard + batch")


def test_a_combination_whose_runs_scatter_is_called_unsteady():
    scores = fold_scores(np.random.default_rng(SEED + 3), 4)[0]
    assert "unsteady" not in comparison(scores, ["a", "b"], ["none", "batch"]).verdict
    scores[3, ::4] -= 1.2
    found = comparison(scores, ["a", "b"], ["none", "batch"])
    assert found.standing(found.figures[-1]) == "no difference"
    assert f"B + batch is unsteady, with an R² from {scores[3].min():.2f} to" in found.verdict


def test_identical_scores_differ_by_nothing():
    scores = np.repeat(fold_scores(np.random.default_rng(SEED), 1)[0], 2, axis=0)
    (pair,) = comparison(scores, ["a", "b"], ["none"]).pairs
    assert (pair.difference, pair.p, pair.differs) == (0.0, 1.0, False)


def test_folds_that_stay_are_tested_once_for_all_seeds():
    scores = fold_scores(np.random.default_rng(SEED), 2)[0]
    (repeated,) = comparison(scores, ["a", "b"], ["none"]).pairs
    (fixed,) = comparison(scores, ["a", "b"], ["none"], repeated=False).pairs
    difference = scores[0] - scores[1]
    by_fold = difference.reshape(SEEDS, FOLDS).T
    assert fixed.p == pytest.approx(corrected_t_test(by_fold, RATIO).p)
    assert repeated.p == pytest.approx(corrected_t_test(difference, RATIO).p)
    one_run = by_fold.mean(axis=1).var(ddof=1) + 2 / 3 * by_fold.var(axis=1, ddof=1).mean()
    error = math.sqrt((1 / FOLDS + RATIO) * one_run)
    assert fixed.p == pytest.approx(two_sided_p(difference.mean() / error, FOLDS - 1))
