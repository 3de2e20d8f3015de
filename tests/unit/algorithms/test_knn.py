"""Nearest neighbours as jobs: the same answers whatever the shards, from the model and from workers; scikit-learn's."""

import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, NearestNeighbors

from builders.neighbors import Served, brute_force, schema_of, weighted
from gradloom.algorithms import build, knn
from gradloom.algorithms.serving import Posed
from gradloom.errors import InvalidInput
from gradloom.models import Neighbors, model_from_bytes
from gradloom.models.neighbors import checked_question
from gradloom.nearest.answers import MAX_LISTED, MAX_WITHIN, Ask, Question, Voting
from gradloom.queries import answer_of
from gradloom.tensors import sha256

IRIS = load_iris(return_X_y=True)
DIABETES = load_diabetes(return_X_y=True, scaled=False)
CLUSTER = {"serve": "cluster"}


def shuffled(data: Any) -> Any:
    """Iris comes sorted by class."""
    order = np.random.default_rng(0).permutation(len(data[0]))
    return data[0][order], data[1][order]


HOLDINGS = {
    "one worker": [range(9)],
    "two": [range(4), range(4, 9)],
    "interleaved": [[0, 3, 6], [1, 4, 7], [2, 5, 8]],
    "a worker each": [[i] for i in range(9)],
}


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan"])
@pytest.mark.parametrize("where", HOLDINGS)
def test_served_neighbours_equal_brute_force_however_rows_lie(where: str, metric: Any) -> None:
    rng = np.random.default_rng(1)
    X = rng.integers(-3, 4, (800, 5)) + 1e4  # many ties, far from zero
    Q = rng.integers(-3, 4, (50, 5)) + 1e4
    distances, places = brute_force(metric, X, Q, 12)
    for seed in range(3):
        job = Served.trained(
            "neighbors",
            X,
            np.zeros(800),
            {**CLUSTER, "metric": metric},
            n_shards=9,
            holdings=HOLDINGS[where],
            cut_seed=seed,
        )
        found = job.answer(Question(Ask.NEIGHBORS, 12), Q)
        np.testing.assert_array_equal(found.ids, places)
        np.testing.assert_array_equal(found.distances, distances)


def test_an_offset_of_ten_thousand_deviations_costs_no_neighbour() -> None:
    rng = np.random.default_rng(2)
    X = rng.normal(size=(4000, 32)) + 1e4
    Q = rng.normal(size=(100, 32)) + 1e4
    job = Served.trained("neighbors", X, np.zeros(4000), CLUSTER)
    np.testing.assert_array_equal(
        job.answer(Question(Ask.NEIGHBORS, 10), Q).ids, brute_force("euclidean", X, Q, 10)[1]
    )


@pytest.mark.parametrize(
    "settings", [{}, {"metric": "cosine"}, {"standardize": True}, {"dtype": "float32"}], ids=str
)
@pytest.mark.parametrize("weights", ["uniform", "distance"])
@pytest.mark.parametrize("name", ["knn_classifier", "knn_regressor"])
def test_the_model_and_the_workers_say_the_same(name: str, weights: str, settings: dict[str, Any]) -> None:
    X, y = shuffled(IRIS if name == "knn_classifier" else DIABETES)
    given = {**settings, "weights": weights, "n_neighbors": 7}
    model = Served.trained(name, X, y, given)
    served = Served.trained(
        name, X, y, {**given, **CLUSTER}, n_shards=8, holdings=[[1, 2, 7], [0, 3, 4, 5, 6]]
    )
    asks = [Question(), Question(Ask.NEIGHBORS, 3), Question(Ask.WITHIN, radius=0.5)]
    asks += [Question(Ask.PROBABILITIES)] if name == "knn_classifier" else []
    for question in asks:
        ours = answer_of(model.algorithm.finish(model.state), question, X[:40])
        theirs = served.answer(question, X[:40])
        assert type(ours) is type(theirs)
        for field in ours.__slots__:
            np.testing.assert_array_equal(getattr(ours, field), getattr(theirs, field))


@pytest.mark.parametrize("weights", ["uniform", "distance"])
@pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan"])
@pytest.mark.parametrize("k", [1, 4, 15])
def test_equals_scikit_learn(metric: str, weights: str, k: int) -> None:
    how = {"n_neighbors": k, "metric": metric, "weights": weights}
    X, y = shuffled(IRIS)
    X = X + np.random.default_rng(3).normal(
        scale=1e-3, size=X.shape
    )  # no ties: scikit-learn breaks them by rounding
    job = Served.trained("knn_classifier", X[:100], y[:100], how)
    ours, theirs = (
        job.algorithm.finish(job.state),
        KNeighborsClassifier(**how, algorithm="brute").fit(X[:100], y[:100]),
    )
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    np.testing.assert_allclose(ours.predict_proba(X[100:]), theirs.predict_proba(X[100:]), atol=1e-12)
    X, y = DIABETES
    job = Served.trained("knn_regressor", X[:300], y[:300], how)
    expected = KNeighborsRegressor(**how, algorithm="brute").fit(X[:300], y[:300]).predict(X[300:])
    np.testing.assert_allclose(job.algorithm.finish(job.state).predict(X[300:]), expected, rtol=1e-9)


def test_the_smallest_of_equal_classes_wins() -> None:
    X, y = np.array([[0.0], [1.0], [3.0], [4.0]]), np.array([2.0, 1.0, 2.0, 1.0])
    job = Served.trained("knn_classifier", X, y, {"n_neighbors": 4}, n_shards=2)
    model = job.algorithm.finish(job.state)
    assert model.predict([[0.0], [4.0]]).tolist() == [1, 1]
    assert model.predict_proba([[0.0]]).tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize("settings", [{}, CLUSTER], ids=["model", "cluster"])
def test_held_out_rows_are_scored_against_all_train_rows(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradloom.nearest.searching.TILE_ROWS", 16)
    for name, data in (("knn_classifier", shuffled(IRIS)), ("knn_regressor", shuffled(DIABETES))):
        X, y = data
        job = Served.trained(name, X, y, settings, n_shards=6, test_fraction=0.3)
        test = np.concatenate([shard.test.positions for shard in job.shards])
        train = np.concatenate([shard.train.positions for shard in job.shards])
        assert len(test) > 30
        kind = KNeighborsClassifier if name == "knn_classifier" else KNeighborsRegressor
        expected = kind(algorithm="kd_tree").fit(X[train], y[train]).score(X[test], y[test])
        scores = job.scores()
        assert scores["accuracy" if name == "knn_classifier" else "r2"] == pytest.approx(expected, abs=0.03)
        model = Served.trained(name, X, y, {}, n_shards=6, test_fraction=0.3)
        exactly = model.algorithm.finish(model.state).scores(X[test], y[test])
        assert scores == pytest.approx(exactly, rel=1e-9)
        assert job.rounds == (2 + -(-len(test) // 16) if settings else 1)


def test_questions_of_many_people_share_a_round() -> None:
    X, y = shuffled(IRIS)
    job = Served.trained("knn_classifier", X, y, CLUSTER)
    posed = [
        Posed(Question(), X[:3]),
        Posed(Question(Ask.NEIGHBORS, 2), X[3:4]),
        Posed(Question(Ask.NEIGHBORS, 9), X[4:8]),
        Posed(Question(Ask.PROBABILITIES), X[8:9]),
    ]
    assert all(job.algorithm.share_a_round(posed[0].question, one.question) for one in posed)
    for one, answer in zip(posed, job.ask(*posed), strict=True):
        alone = job.answer(one.question, one.X)
        for field in alone.__slots__:
            np.testing.assert_array_equal(getattr(answer, field), getattr(alone, field))
    radii = [Posed(Question(Ask.WITHIN, radius=r), X[:2]) for r in (0.1, 0.7)]
    assert not job.algorithm.share_a_round(radii[0].question, posed[0].question)
    small, large = job.ask(*radii)
    assert small.counts.sum() < large.counts.sum()


def test_too_many_rows_within_a_radius_are_refused_to_the_one_who_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from gradloom.nearest import searching

    monkeypatch.setattr(searching, "MAX_WITHIN", 20)
    monkeypatch.setattr(knn, "MAX_WITHIN", 20)
    X, y = IRIS
    job = Served.trained("neighbors", X, y, CLUSTER)
    many, few = job.ask(
        Posed(Question(Ask.WITHIN, radius=99.0), X[:2]), Posed(Question(Ask.WITHIN, radius=0.0), X[:1])
    )
    assert isinstance(many, InvalidInput)
    assert "150 rows lie within it of row 0" in str(many)
    assert few.counts.tolist() == [1]


def test_ids_are_positions_in_the_data_set() -> None:
    X, y = DIABETES
    job = Served.trained("knn_regressor", X, y, CLUSTER, test_fraction=0.4)
    train = np.concatenate([shard.train.positions for shard in job.shards])
    found = job.answer(Question(Ask.NEIGHBORS, 1), X[train])
    np.testing.assert_array_equal(found.ids[:, 0], train)
    assert (found.distances == 0).all()


def test_the_approximate_search_answers_and_is_refused_where_there_is_none() -> None:
    rng = np.random.default_rng(5)
    points = 5 * rng.normal(size=(30, 8))
    X = points[rng.integers(0, 30, 3000)] + rng.normal(size=(3000, 8))
    job = Served.trained("neighbors", X, np.zeros(3000), {"algorithm": "ivf", **CLUSTER}, n_shards=4)
    found = job.answer(Question(Ask.NEIGHBORS, 10), X[:200]).ids
    _, places = brute_force("euclidean", X, X[:200], 10)
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, places, strict=True)]) >= 0.95
    with pytest.raises(InvalidInput, match="ivf needs metric euclidean or cosine"):
        build("neighbors", {"algorithm": "ivf", "metric": "manhattan"})
    with pytest.raises(InvalidInput, match="probes: means nothing to algorithm 'exact'"):
        build("neighbors", {"probes": 3})


def test_a_query_whose_lists_hold_too_few_rows_is_compared_with_all() -> None:
    X = np.r_[np.zeros((60, 3)), np.random.default_rng(0).normal(size=(40, 3)) + 100.0]
    job = Served.trained(
        "neighbors", X, np.zeros(100), {"algorithm": "ivf", "probes": 1, **CLUSTER}, n_shards=2
    )
    found = job.answer(Question(Ask.NEIGHBORS, 30), X[60:])
    _, places = brute_force("euclidean", X, X[60:], 30)
    assert found.ids.max() < 100
    np.testing.assert_array_equal(found.ids, places)


# ---- what is refused


def start(
    name: str, settings: dict[str, Any], test_fraction: float = 0.0, weight: float | None = None
) -> Any:
    algorithm = build(name, settings)
    schema = schema_of(*DIABETES, algorithm.needs, test_fraction)
    return algorithm.start(schema if weight is None else weighted(schema, weight))


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ("n_neighbors: 443 is not allowed; the data has 442 rows", ("knn_regressor", {"n_neighbors": 443})),
        ("weight: means nothing to neighbors", ("neighbors", {}, 0.0, 500.5)),
        ("test_fraction: means nothing to neighbors", ("neighbors", {}, 0.5)),
    ],
)
def test_data_that_does_not_suit_is_refused(words: str, given: tuple[Any, ...]) -> None:
    with pytest.raises(InvalidInput, match=words):
        start(*given)


def test_data_that_is_too_large_for_a_model_or_for_held_out_rows_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(knn, "MODEL_BYTES", 9000)
    monkeypatch.setattr(knn, "LARGEST_MODEL_BYTES", 10_000)
    assert build("knn_regressor").serves(start("knn_regressor", {}))
    with pytest.raises(InvalidInput, match="serve: model: the rows take 35,360 bytes; at most 10,000 may"):
        start("knn_regressor", {"serve": "model"})
    with pytest.raises(InvalidInput, match="held-out rows take"):
        start("knn_regressor", {}, 0.5)


@pytest.mark.parametrize(
    ("words", "question"),
    [
        (r"neighbors: 151 is not allowed; it must lie in \[1, 150\]", Question(Ask.NEIGHBORS, 151)),
        (r"neighbors: 10001 is not allowed", Question(Ask.NEIGHBORS, 10_001)),
        ("radius: -1.0 is not allowed", Question(Ask.WITHIN, radius=-1.0)),
        ("radius: nan is not allowed", Question(Ask.WITHIN, radius=float("nan"))),
        ("ask: there are no classes", Question(Ask.PROBABILITIES)),
    ],
)
def test_questions_that_can_not_be_answered_are_refused(words: str, question: Question) -> None:
    job = Served.trained("neighbors", *IRIS, {})
    with pytest.raises(InvalidInput, match=words):
        job.algorithm.check_question(job.state.schema, question, 2)
    with pytest.raises(InvalidInput, match=words):
        answer_of(job.algorithm.finish(job.state), question, IRIS[0][:2])


def test_more_neighbours_than_may_be_asked_for_are_refused_however_many_rows_there_are() -> None:
    voting, settings = Voting("euclidean", "uniform"), {"n_neighbors": 5, "radius": 1.0}
    assert checked_question(Question(Ask.NEIGHBORS, 10_000), voting, settings, 10**6) == (10_000, 1.0)
    with pytest.raises(InvalidInput, match=r"10001 is not allowed; it must lie in \[1, 10000\], of 1000000"):
        checked_question(Question(Ask.NEIGHBORS, 10_001), voting, settings, 10**6)


@pytest.mark.parametrize(
    ("question", "most"),
    [
        (Question(Ask.NEIGHBORS, 100), MAX_LISTED // 100),
        (Question(Ask.NEIGHBORS), MAX_LISTED // 5),
        (Question(Ask.WITHIN), MAX_LISTED // MAX_WITHIN),
        (Question(Ask.PREDICTIONS), MAX_LISTED),
    ],
)
def test_an_answer_that_is_too_large_for_a_client_is_refused_before_it_is_looked_for(
    question: Question, most: int
) -> None:
    job = Served.trained("neighbors", *IRIS, {})
    model = job.algorithm.finish(job.state)
    job.algorithm.check_question(job.state.schema, question, most)
    model.check_size(question, most)
    with pytest.raises(InvalidInput, match=rf"X: has {most + 1} rows.*ask about {most} rows at once"):
        job.algorithm.check_question(job.state.schema, question, most + 1)
    with pytest.raises(InvalidInput, match="rows at once"):
        model.check_size(question, most + 1)


def test_the_more_neighbours_are_wanted_the_fewer_queries_a_round_takes() -> None:
    knn = build("neighbors", {"n_neighbors": "9"})
    rows = [knn.tile_rows(Question(Ask.NEIGHBORS, k)) for k in (0, 1024, 10_000)]
    assert rows == [1024, 1024, 104]
    assert build("neighbors", {"n_neighbors": "10000"}).tile_rows(Question()) == 104


def test_a_model_answers_tile_by_tile_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    job = Served.trained("knn_classifier", *IRIS, {})
    model, X = job.algorithm.finish(job.state), IRIS[0]
    whole = model.predict_proba(X), model.kneighbors(X, 4).ids, model.radius_neighbors(X).ids
    monkeypatch.setattr("gradloom.nearest.searching.TILE_PAIRS", 28)
    tiles = model.predict_proba(X), model.kneighbors(X, 4).ids, model.radius_neighbors(X).ids
    assert all(np.array_equal(a, b) for a, b in zip(whole, tiles, strict=True))


# ---- the model


def test_a_model_without_its_rows_says_where_they_are() -> None:
    job = Served.trained("knn_classifier", *IRIS, CLUSTER)
    model = model_from_bytes(job.algorithm.finish(job.state).to_bytes())
    assert isinstance(model, Neighbors)
    assert not model.self_contained
    for ask in (
        model.predict,
        model.kneighbors,
        model.radius_neighbors,
        lambda X: model.to_sklearn().predict(X),
    ):
        with pytest.raises(InvalidInput, match="150 rows are not in the model but with the workers"):
            ask(IRIS[0][:1])


def test_a_model_is_pickled_with_its_rows_and_checks_what_it_is_asked() -> None:
    job = Served.trained("knn_classifier", *shuffled(IRIS), {})
    model = pickle.loads(pickle.dumps(job.algorithm.finish(job.state)))
    assert sha256(model.arrays) == job.algorithm.finish(job.state).parameters_sha256
    assert model.scores(*IRIS)["accuracy"] > 0.95
    with pytest.raises(InvalidInput, match="row 1 holds a value in column 'x2' that is not finite"):
        model.predict([[1, 2, 3, 4], [1, 2, np.nan, 4]])
    with pytest.raises(InvalidInput, match="needed are rows of 4 columns"):
        model.kneighbors([[1, 2]])


def test_a_damaged_model_is_refused() -> None:
    job = Served.trained("knn_classifier", *IRIS, {})
    model = job.algorithm.finish(job.state)
    for field in ("targets", "ids", "middle", "shift"):
        parts = {
            name: getattr(model, name) for name in ("rows", "targets", "ids", "middle", "shift", "scale")
        }
        parts[field] = np.zeros(7, dtype=parts[field].dtype)
        damaged = Neighbors(
            algorithm="knn_classifier", version=1, features=model.features, target="y", classes=None, **parts
        )
        with pytest.raises(ValueError, match="of shape"):
            damaged.check_arrays()


def test_as_scikit_learn_estimators() -> None:
    X, y = shuffled(IRIS)
    X = X + np.random.default_rng(3).normal(scale=1e-3, size=X.shape)
    for name, kind in (
        ("knn_classifier", KNeighborsClassifier),
        ("knn_regressor", KNeighborsRegressor),
        ("neighbors", NearestNeighbors),
    ):
        job = Served.trained(name, X, y, {"n_neighbors": 3, "metric": "cosine"})
        model = job.algorithm.finish(job.state)
        estimator = model.to_sklearn()
        assert type(estimator) is kind
        assert list(estimator.feature_names_in_) == list(model.features)
        with pytest.warns(UserWarning, match="feature names"):
            _, places = estimator.kneighbors(X[:20])
        np.testing.assert_array_equal(model.ids[places], model.kneighbors(X[:20]).ids)
    job = Served.trained("neighbors", X, y, {"standardize": True})
    with pytest.raises(InvalidInput, match="standardises"):
        job.algorithm.finish(job.state).to_sklearn()
