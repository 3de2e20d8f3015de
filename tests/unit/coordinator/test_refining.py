"""A job whose rows become float64 on the way: workers are told, once, and a restart does not forget it."""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer

from builders.files import through_a_file
from gradloom.algorithms import build
from gradloom.canonical import Range, fold
from gradloom.data.planning import build_manifest
from gradloom.data.preparation import Split, prepare
from gradloom.data.profile import profile_shard
from gradloom.data.reading import read_rows
from gradloom.specs import DataSpec, JobSpec
from gradloom.steps import Step
from gradloom.v1 import worker_pb2
from gradloom.wire.data import preparation_from_proto
from gradloom_coordinator.journal import Journal
from gradloom_coordinator.runs import JobRun
from gradloom_coordinator.training import Training

SETTINGS = {"solver": "lbfgs", "tolerance": "1e-8", "l2": "0.01"}


def run_of(tmp_path: Path) -> JobRun:
    path = tmp_path / "rows.npz"
    bunch = load_breast_cancer()
    np.savez(path, X=bunch.data, y=bunch.target)
    run = JobRun("job-1", JobSpec("logistic", DataSpec((str(path),)), SETTINGS), Journal(), 0.0)
    run.training = Training(build("logistic", SETTINGS), build_manifest([str(path)], n_shards=3), Split())
    return run


def one_round(run: JobRun) -> worker_pb2.Setup:
    """As three shards on one worker answer, prepared as the setup says."""
    training = run.training
    assert training is not None
    setup = worker_pb2.CoordinatorMessage.FromString(run.setup_message()).setup
    manifest, message, merge = training.manifest, training.message(), training.merge
    raws = [read_rows(manifest.files, manifest.columns, plan) for plan in manifest.shards]
    if training.step is Step.PROFILE:
        training.advance(fold(Range(0, 3), lambda i: profile_shard(raws[i], training.split), merge))
        return setup
    how = preparation_from_proto(setup.preparation)
    shards = [prepare(raw, how) for raw in raws]
    training.advance(fold(Range(0, 3), lambda i: training.algorithm.map(shards[i], message), merge))
    return setup


def test_workers_are_told_of_another_dtype_once(tmp_path: Path) -> None:
    run, messages = run_of(tmp_path), []
    assert run.training is not None
    while not run.training.finished:
        messages.append(run.setup_message())
        one_round(run)
    told = [worker_pb2.CoordinatorMessage.FromString(one).setup.preparation.dtype for one in messages[1:]]
    assert told == sorted(told)
    assert set(told) == {"float32", "float64"}
    assert (
        len({id(one) for one in messages}) == 3
    )  # the profile, float32, float64: the same object as long as it holds
    assert run.training.ended_because.startswith("converged: the gradient is at most 1e-08")


def test_a_restart_while_rows_are_float64_leads_to_the_same_bits(tmp_path: Path) -> None:
    run, restarts = run_of(tmp_path), 0
    assert run.training is not None
    while not run.training.finished:
        one_round(run)
        before = run.training
        if before.dtype == "float64" and not before.finished:
            saved = before.save()
            assert saved is not None
            assert before.schema is not None
            run = run_of(tmp_path)
            assert run.training is not None
            run.training.restore(before.schema, through_a_file(saved[0]))
            assert run.training.dtype == "float64"
            restarts += 1
    undisturbed = run_of(tmp_path)
    assert undisturbed.training is not None
    while not undisturbed.training.finished:
        one_round(undisturbed)
    assert restarts > 1
    assert run.training.model is not None
    assert undisturbed.training.model is not None
    assert run.training.model.parameters_sha256 == undisturbed.training.model.parameters_sha256
