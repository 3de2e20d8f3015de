"""K-means is scikit-learn's from the same first centers, and begins the same way whatever the shards."""

import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.cluster import KMeans as Twin
from sklearn.cluster import MiniBatchKMeans, kmeans_plusplus
from sklearn.datasets import load_digits, load_iris, make_blobs
from sklearn.exceptions import ConvergenceWarning

from gradloom.algorithms import build
from gradloom.algorithms.draws import Draws, Race, race_keys, row_uniforms
from gradloom.algorithms.kmeans import KMeansState, Phase
from gradloom.errors import InvalidInput, JobFailed
from gradloom.models import Clusters
from gradloom.tensors import Tensors
from tests.unit.algorithms.case import part, whole_of
from tests.unit.algorithms.training import Data, schema_of, shards_of, total_of, train, train_state

Floats = NDArray[np.float64]
BLOBS, _ = make_blobs(3000, n_features=5, centers=12, cluster_std=1.5, random_state=1)
SETS: dict[str, tuple[Floats, int]] = {
    "digits": (load_digits().data, 10),
    "iris": (load_iris().data, 3),
    "blobs": (BLOBS, 12),
}


def unlabelled(X: Floats, weight: Floats | None = None) -> Data:
    return Data(X, np.zeros(len(X)), weight)


def clusters(X: Floats, weight: Floats | None = None, n_shards: int = 5, **settings: object) -> Clusters:
    model = train(build("kmeans", {"dtype": "float64", **settings}), unlabelled(X, weight), n_shards)
    assert isinstance(model, Clusters)
    return model


def from_centers(X: Floats, centers: Floats, weight: Floats | None = None, **settings: object) -> Clusters:
    given = {"n_clusters": len(centers), "init": "given", "init_centers": centers.tolist(), **settings}
    return clusters(X, weight, **given)


def twin(X: Floats, centers: Floats, weight: Floats | None = None, **settings: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return Twin(len(centers), init=centers, n_init=1, **settings).fit(X, sample_weight=weight)


def assert_same(model: Clusters, expected: Any, X: Floats) -> None:
    assert model.metadata["iterations"] == expected.n_iter_
    assert model.metadata["inertia"] == pytest.approx(expected.inertia_, rel=1e-10)
    np.testing.assert_array_equal(model.predict(X), expected.labels_)
    np.testing.assert_allclose(model.centers, expected.cluster_centers_, rtol=1e-10, atol=1e-10)


# ---- the same clusters as scikit-learn


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("tolerance", [0.0, 1e-4])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_the_same_first_centers_lead_to_the_same_clusters(
    name: str, weighted: bool, tolerance: float, offset: float
) -> None:
    X, k = SETS[name]
    rng = np.random.default_rng(k)
    X = X[rng.permutation(len(X))] + offset
    weight = rng.uniform(0.1, 3.0, len(X)) if weighted else None
    centers = X[rng.choice(len(X), k, replace=False)]
    model = from_centers(X, centers, weight, tolerance=tolerance)
    assert_same(model, twin(X, centers, weight, tol=tolerance), X)


@pytest.mark.parametrize("seed", range(8))
def test_an_empty_cluster_gets_the_farthest_row(seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((40, 2))
    weight = rng.uniform(0.1, 3.0, len(X)) if seed % 2 else None
    centers = X[:5] + 0.01
    centers[seed % 5] = 50.0
    algorithm = build("kmeans", {"n_clusters": 5, "init": "given", "init_centers": centers.tolist()})
    assert train_state(algorithm, unlabelled(X, weight)).fills > 0
    assert_same(from_centers(X, centers, weight), twin(X, centers, weight), X)


def test_two_runs_of_which_one_has_empty_clusters() -> None:
    """Both runs wait while rows are looked for; only the one that needs them gets them."""
    X, k = SETS["iris"]
    model = clusters(np.repeat(X[::10], 3, axis=0), n_clusters=k * 4, init="random", n_init=4)
    assert np.isfinite(model.centers).all()
    assert model.metadata["inertia"] == pytest.approx(model.scores(np.repeat(X[::10], 3, axis=0))["inertia"])


@pytest.mark.parametrize("init", ["given", "k-means||", "k-means++", "random"])
@pytest.mark.parametrize("distinct", [1, 3])
def test_more_clusters_than_different_rows(init: str, distinct: int) -> None:
    X = np.repeat(np.arange(distinct, dtype=np.float64)[:, np.newaxis] * [1.0, -2.0], 5, axis=0)
    given = {"init_centers": (X[:4] + 0.5).tolist()} if init == "given" else {}
    model = clusters(X, n_clusters=4, init=init, **given)
    assert model.metadata["inertia"] == 0.0
    assert len(np.unique(model.predict(X))) == distinct
    if init == "given":
        assert_same(model, twin(X, X[:4] + 0.5), X)


def test_as_many_clusters_as_rows() -> None:
    X = np.random.default_rng(0).standard_normal((12, 3))
    assert clusters(X, n_clusters=12, init="random").metadata["inertia"] == pytest.approx(0.0, abs=1e-20)


def test_rows_of_no_weight_pull_no_center() -> None:
    X, k = SETS["iris"]
    far = np.concatenate([X, np.full((20, 4), 500.0)])
    weight = np.concatenate([np.ones(len(X)), np.zeros(20)])
    model = from_centers(far, X[::50], weight, tolerance=0.0)
    np.testing.assert_allclose(model.centers, from_centers(X, X[::50], tolerance=0.0).centers, rtol=1e-12)
    assert clusters(far, weight, n_clusters=k).centers.max() < 10


def test_float32_rows_give_the_same_clusters_far_from_the_origin() -> None:
    X, _ = SETS["blobs"]
    centers = X[:12]
    exact = from_centers(X, centers)
    fast = from_centers(X + 1e4, centers + 1e4, dtype="float32")
    np.testing.assert_array_equal(fast.predict(X + 1e4), exact.predict(X))
    assert fast.metadata["inertia"] == pytest.approx(exact.metadata["inertia"], rel=1e-5)


def test_it_stops_at_max_rounds_with_the_labels_of_the_last_centers() -> None:
    X, k = SETS["digits"]
    model = from_centers(X, X[:k], max_rounds=3)
    assert model.metadata["stopped"] == "max_rounds = 3 reached"
    assert_same(model, twin(X, X[:k], max_iter=3), X)


# ---- how it begins


@pytest.mark.parametrize("init", ["k-means||", "k-means++", "random"])
def test_the_first_centers_do_not_depend_on_the_shards(init: str) -> None:
    X, k = SETS["digits"]
    settings: dict[str, object] = {"n_clusters": k, "init": init, "max_rounds": 1, "n_init": 2}
    expected = clusters(X, n_shards=1, **settings)
    for n_shards in (3, 11):
        found = clusters(X, n_shards=n_shards, **settings)
        np.testing.assert_allclose(found.centers, expected.centers, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("init", ["k-means||", "k-means++", "random"])
def test_the_seed_decides_and_every_run_has_numbers_of_its_own(init: str) -> None:
    X, k = SETS["blobs"]
    algorithm = build("kmeans", {"n_clusters": k, "init": init, "n_init": 3, "dtype": "float64"})
    firsts = {centers.tobytes() for seed in (0, 1) for centers in first_centers(algorithm, X, seed)}
    assert len(firsts) == 6


def first_centers(algorithm: Any, X: Floats, seed: int) -> Floats:
    """Of all runs, (R, k, d)."""
    schema = schema_of(unlabelled(X), algorithm.needs, seed)
    shards, state = shards_of(unlabelled(X), schema, 4), algorithm.start(schema)
    while state.runs is None:
        state = algorithm.update(state, total_of(algorithm, shards, algorithm.broadcast(state)))
    centers: Floats = state.runs.centers
    return centers


@pytest.mark.parametrize(("init", "most"), [("k-means||", 0.65), ("k-means++", 1.05)])
def test_seeds_cost_no_more_than_those_of_scikit_learn(init: str, most: float) -> None:
    X, _ = make_blobs(1500, n_features=8, centers=20, random_state=3)
    algorithm = build("kmeans", {"n_clusters": 20, "init": init, "n_init": 30})
    ours = np.mean([cost_of(X, c) for c in first_centers(algorithm, X, 0) + X.mean(axis=0)])
    theirs = np.mean([cost_of(X, kmeans_plusplus(X, 20, random_state=seed)[0]) for seed in range(30)])
    assert ours < most * theirs


def cost_of(X: Floats, centers: Floats) -> float:
    return float(((X[:, np.newaxis] - centers) ** 2).sum(axis=2).min(axis=1).sum())


def test_the_best_of_several_runs_counts() -> None:
    X, k = SETS["digits"]
    model = clusters(X, n_clusters=k, init="random", n_init=6)
    algorithm = build("kmeans", {"n_clusters": k, "init": "random", "n_init": 6, "dtype": "float64"})
    inertias = [twin(X, c + X.mean(axis=0)).inertia_ for c in first_centers(algorithm, X, 0)]
    assert model.metadata["inertia"] == pytest.approx(min(inertias), rel=1e-10)
    assert max(inertias) > 1.0001 * min(inertias)


def test_rows_are_drawn_with_the_probability_of_their_weight() -> None:
    weight = np.array([1.0, 0.0, 2.0, 3.0, 4.0])
    positions = np.arange(5)
    seeds = range(4000)
    firsts = [race_keys(row_uniforms(seed, 0, 0, positions), weight).argmin() for seed in seeds]
    shares = np.bincount(firsts, minlength=5) / len(seeds)
    np.testing.assert_allclose(shares, weight / weight.sum(), atol=0.025)
    assert shares[1] == 0.0


def test_a_race_keeps_the_smallest_keys_of_each_draw_however_blocks_are_cut() -> None:
    rng = np.random.default_rng(0)
    keys, X = rng.exponential(size=(500, 3)), rng.standard_normal((500, 2))
    keys[rng.integers(0, 500, 50)] = np.inf
    expected = np.sort(keys, axis=0)[:4].T.ravel()
    for size in (1, 7, 500):
        race = Race(2, 4)
        for start in range(0, 500, size):
            block = slice(start, start + size)
            race.offer(keys[block], X[block], np.arange(500)[block], np.zeros((len(keys[block]), 2)))
        np.testing.assert_array_equal(race.draws.key, expected)
        np.testing.assert_array_equal(race.draws.row, X[race.draws.position])


def phases_of(settings: dict[str, object], X: Floats) -> dict[int, tuple[Any, KMeansState]]:
    """A state in the middle of each phase that a training goes through."""
    algorithm = build("kmeans", settings)
    schema = schema_of(unlabelled(X), algorithm.needs)
    shards, state = shards_of(unlabelled(X), schema, 6), algorithm.start(schema)
    found: dict[int, tuple[Any, KMeansState]] = {}
    while algorithm.done(state) is None:
        found[state.phase] = algorithm, state
        state = algorithm.update(state, total_of(algorithm, shards, algorithm.broadcast(state)))
    return found


FAR_AWAY = np.concatenate([load_iris().data[:3], np.full((2, 4), 99.0)]).tolist()
IN_ALL_PHASES = [
    {"n_clusters": 3, "n_init": 2, "dtype": "float64"},
    {"n_clusters": 4, "init": "k-means++", "n_init": 2, "dtype": "float64"},
    {"n_clusters": 5, "init": "given", "init_centers": FAR_AWAY, "dtype": "float64"},
]


@pytest.mark.parametrize("settings", IN_ALL_PHASES, ids=["drawn", "tried", "given"])
def test_in_every_phase_the_shards_give_what_the_whole_gives(settings: dict[str, object]) -> None:
    X, _ = SETS["iris"]
    for phase, (algorithm, state) in phases_of(settings, X).items():
        schema, message = state.schema, algorithm.broadcast(state)
        shards = shards_of(unlabelled(X), schema, 6)
        whole = algorithm.map(whole_of(shards), message)
        none = part(shards[0].train, slice(0, 0))
        for cut in (shards, [*shards[:2], type(shards[0])(9, none, none, none), *shards[2:]]):
            assert_alike(total_of(algorithm, cut, message), whole, Phase(phase))


def assert_alike(left: Tensors, right: Tensors, phase: Phase) -> None:
    """Sums up to rounding; drawn rows the same, in the same order."""
    assert left.keys() == right.keys()
    for name in left:
        exact = name in ("drawn_position", "drawn_group", "drawn_keep")
        np.testing.assert_allclose(
            left[name],
            right[name],
            rtol=0 if exact else 1e-10,
            atol=0 if exact else 1e-8,
            err_msg=f"{phase} {name}",
        )
    if int(left.get("drawn_keep", 0)) or "drawn_limit" in left:
        assert len(Draws.from_tensors(left))


def test_between_them_these_trainings_go_through_every_phase_of_full_passes() -> None:
    X, _ = SETS["iris"]
    seen = {phase for settings in IN_ALL_PHASES for phase in phases_of(settings, X)}
    assert seen == set(Phase) - {Phase.BATCH, Phase.DONE}


# ---- mini-batches


@pytest.mark.parametrize("name", SETS)
def test_mini_batches_come_near_the_clusters_of_full_passes(name: str) -> None:
    X, k = SETS[name]
    X = X[np.random.default_rng(0).permutation(len(X))]
    model = clusters(X, n_clusters=k, batch_size=200, n_init=3)
    best = Twin(k, n_init=5, random_state=0).fit(X).inertia_
    theirs = MiniBatchKMeans(k, n_init=3, batch_size=200, random_state=0).fit(X).inertia_
    assert model.metadata["inertia"] < max(1.05 * best, 1.02 * theirs)
    assert model.metadata["inertia"] == pytest.approx(model.scores(X)["inertia"], rel=1e-10)


def test_centers_that_starve_move_to_rows_of_the_batch() -> None:
    X, _ = SETS["blobs"]
    centers = X[:6].copy()
    centers[4:] = 1e3
    model = from_centers(X, centers, batch_size=250, patience=0, max_rounds=40)
    assert np.abs(model.centers).max() < 30
    kept = from_centers(X, centers, batch_size=250, patience=0, max_rounds=40, reassignment_ratio=0.0)
    np.testing.assert_allclose(kept.centers[4:], 1e3)


def test_batches_stop_when_the_smoothed_cost_gets_no_better() -> None:
    X, k = SETS["blobs"]
    model = clusters(X, n_clusters=k, batch_size=150, max_rounds=2000, patience=5)
    assert model.metadata["stopped"] == "converged: no better smoothed cost in 5 batches"
    assert int(str(model.metadata["iterations"])) < 500


def test_max_epochs_counts_passes_whatever_the_batches() -> None:
    X, _ = SETS["iris"]
    for batch_size, expected in ((50, 6), (64, 4), (1000, 2)):
        given = {"n_clusters": 3, "batch_size": batch_size, "patience": 0, "tolerance": 0.0}
        model = clusters(X, **given, max_epochs=2)
        assert (model.metadata["iterations"], model.metadata["stopped"]) == (
            expected,
            "max_epochs = 2 reached",
        )
        first = clusters(X, **given, max_epochs=100, max_rounds=3)
        assert (first.metadata["iterations"], first.metadata["stopped"]) == (3, "max_rounds = 3 reached")


# ---- digits


def far_groups() -> Floats:
    near, _ = make_blobs(300, centers=[[0, 0], [6, 0], [0, 6]], cluster_std=0.5, random_state=0)
    return np.concatenate([near, near + np.array([1e5, 0.0])])


def test_groups_that_lie_far_apart_are_told_apart_by_default() -> None:
    X = far_groups()
    model = train(build("kmeans", {"n_clusters": 6, "n_init": 5, "init": "k-means++"}), unlabelled(X))
    expected = Twin(6, n_init=5, random_state=0).fit(X).inertia_
    assert isinstance(model, Clusters)
    assert model.metadata["inertia"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_weights_of_a_model_are_those_of_what_it_predicts(dtype: str) -> None:
    X = far_groups()
    model = clusters(X, n_clusters=6, init="k-means++", dtype=dtype)
    np.testing.assert_array_equal(model.weights, np.bincount(model.predict(X), minlength=6))


@pytest.mark.parametrize(
    ("dtype", "unit", "cure"), [("float32", 1e25, "try dtype=float64,"), ("float64", 1e160, "try columns")]
)
def test_values_whose_squares_are_no_numbers_are_refused(dtype: str, unit: float, cure: str) -> None:
    X, algorithm = SETS["iris"][0], build("kmeans", {"dtype": dtype})
    schema = schema_of(unlabelled(X), algorithm.needs)
    state, shards = algorithm.start(schema), shards_of(unlabelled(X * unit), schema, 3)
    total = total_of(algorithm, shards, algorithm.broadcast(state))
    with pytest.raises(JobFailed, match=f"not a finite number: .* too large for {dtype}; {cure}"):
        algorithm.update(state, total)


# ---- what is refused, what is told


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_clusters": 151}, "n_clusters: 151 is more than there are train rows, 150"),
        ({"init": "given"}, "init_centers: '' is not allowed; it must be JSON"),
        ({"init": "given", "init_centers": "[[1, 2], [3]]"}, "init_centers: .* is not allowed"),
        ({"init": "given", "init_centers": "[[1, NaN, 1, 1]]"}, "init_centers: .* is not allowed"),
        (
            {"init": "given", "init_centers": "[[1, 2, 3, 4]]"},
            "init_centers: holds 1 centers, where n_clusters is 8",
        ),
        (
            {"init": "given", "init_centers": "[[1, 2]]", "n_clusters": 1},
            "init_centers: have 2 columns, where the data has 4",
        ),
        (
            {"init": "given", "init_centers": "[[1, 2, 3, 4]]", "n_clusters": 1, "n_init": 2},
            "n_init: 2 runs from the same centers are one run",
        ),
        ({"init_centers": "[[1]]"}, r"init_centers: means nothing to init=k-means\|\|, only to init=given"),
        ({"oversampling": 3.0, "init": "random"}, "oversampling: means nothing to init=random"),
        ({"local_trials": 3}, "local_trials: means nothing to"),
        ({"patience": 3}, "patience: means nothing without batches"),
        ({"reassignment_ratio": 0.5}, "reassignment_ratio: means nothing without batches"),
        ({"max_epochs": 3}, "max_epochs: means nothing without batches"),
        ({"n_clusters": 0}, "n_clusters: 0 is not allowed"),
        ({"init": "kmeans"}, "init: 'kmeans' is not allowed"),
    ],
)
def test_what_makes_no_sense_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        train_state(build("kmeans", settings), unlabelled(SETS["iris"][0]))


def test_progress_tells_the_inertia_and_never_ends_before_the_last_round() -> None:
    X, k = SETS["iris"]
    algorithm = build("kmeans", {"n_clusters": k, "init": "k-means++", "max_rounds": 4, "dtype": "float64"})
    schema = schema_of(unlabelled(X), algorithm.needs)
    shards, state = shards_of(unlabelled(X), schema, 3), algorithm.start(schema)
    losses = []
    while algorithm.done(state) is None:
        state = algorithm.update(state, total_of(algorithm, shards, algorithm.broadcast(state)))
        progress = algorithm.progress(state)
        assert progress.iteration <= progress.max_iterations
        losses += [progress.loss] if progress.loss is not None else []
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] == pytest.approx(algorithm.finish(state).metadata["inertia"], rel=1e-12)


def test_the_model_is_a_fitted_kmeans_for_scikit_learn() -> None:
    X, k = SETS["iris"]
    model = from_centers(X, X[::50])
    estimator = model.to_sklearn()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # X has no feature names
        np.testing.assert_array_equal(estimator.predict(X), model.predict(X))
        np.testing.assert_allclose(estimator.transform(X), model.transform(X), atol=1e-9)
        assert -estimator.score(X) == pytest.approx(model.scores(X)["inertia"])
    assert estimator.inertia_ == model.metadata["inertia"]
    assert estimator.n_iter_ == model.metadata["iterations"]
    assert estimator.cluster_centers_.shape == (k, 4)


def test_a_model_names_the_row_and_column_that_it_cannot_place() -> None:
    X, _ = SETS["iris"]
    model, bad = from_centers(X, X[::50]), X.copy()
    bad[7, 2] = np.nan
    with pytest.raises(InvalidInput, match="row 7 holds a value in column 'x2' that is not finite"):
        model.predict(bad)
    assert model.scores(X[:0]) == {}
    assert model.predict(X[:0]).shape == (0,)
