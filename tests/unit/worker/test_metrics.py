"""The worker's page: every series under the name that the coordinator gave it."""

import numpy as np
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from gradloom_worker.answers import Answers
from gradloom_worker.metrics import WorkerMetrics
from gradloom_worker.phases import Doing, PhaseClock
from gradloom_worker.shards import ShardStore
from gradloom_worker.work import Computed

Samples = dict[tuple[str, tuple[str, ...]], float]


class Page:
    def __init__(self, name: str = "wished") -> None:
        self.now = 0.0
        self.store = ShardStore(1000)
        self.phases = PhaseClock(lambda: self.now)
        self.metrics = WorkerMetrics(name, self.store, self.phases, Answers(), lambda: 1.7e9)

    def samples(self) -> Samples:
        return {
            (sample.name.removeprefix("gradloom_"), tuple(sample.labels.values())): sample.value
            for family in self.metrics.registry.collect()
            for sample in family.samples
            if sample.name.startswith("gradloom_")
        }


def test_it_begins_at_0_under_the_name_it_wished_for() -> None:
    found = Page().samples()
    assert found["worker_tasks_total", ("wished", "discarded")] == 0
    assert found["shard_cache_total", ("wished", "evict")] == 0
    assert found["grpc_stream_reconnects_total", ("wished", "UNAVAILABLE")] == 0
    assert {labels[0] for _, labels in found} == {"wished"}


def test_it_says_when_its_certificate_ends() -> None:
    assert Page().samples()["tls_certificate_expiry_timestamp_seconds", ("wished",)] == 1.7e9


def test_it_goes_by_the_name_that_the_coordinator_gave_it() -> None:
    page = Page()
    page.store.on_read("csv", 0.02)
    page.metrics.welcomed("given-2")
    found = page.samples()
    assert {labels[0] for _, labels in found} == {"given-2"}
    assert found["shard_load_seconds_count", ("given-2", "csv")] == 1
    assert found["shard_load_seconds_sum", ("given-2", "csv")] == 0.02


def test_the_phases_add_up_to_the_time_that_passed() -> None:
    page = Page()
    for phase in Doing:
        page.phases.switch(phase)
        page.now += 1.5
    times = [v for (name, _), v in page.samples().items() if name == "worker_time_seconds_total"]
    assert (len(times), sum(times)) == (len(Doing), page.now)


def test_what_became_of_tasks() -> None:
    page = Page()
    page.metrics.answered(Computed({"g": np.zeros(1)}, 7, 0.0, 0.0))
    page.metrics.failed()
    page.metrics.discarded()
    found = page.samples()
    assert found["worker_computed_rows_total", ("wished",)] == 7
    outcomes = ("succeeded", "failed", "discarded")
    assert [found["worker_tasks_total", ("wished", one)] for one in outcomes] == [1, 1, 1]


def test_only_sessions_after_the_first_are_reconnects() -> None:
    page = Page()
    page.metrics.welcomed("w")
    assert page.samples()["grpc_stream_reconnects_total", ("w", "UNAVAILABLE")] == 0
    page.metrics.session_over("UNAVAILABLE")
    page.metrics.welcomed("w")
    page.metrics.session_over()
    page.metrics.welcomed("w")
    found = page.samples()
    assert found["grpc_stream_reconnects_total", ("w", "UNAVAILABLE")] == 1
    assert found["grpc_stream_reconnects_total", ("w", "OK")] == 1


def test_memory_is_less_than_its_limit() -> None:
    found = Page().samples()
    assert found["worker_memory_bytes", ("wished", "limit")] > found["worker_memory_bytes", ("wished", "rss")]


def test_a_name_can_not_add_lines_or_labels_to_the_page() -> None:
    hostile = 'w",evil="1"} 9\nfaked_total 7\n# HELP x \\'
    text = generate_latest(Page(hostile).metrics.registry).decode()
    assert "\nfaked_total" not in text
    samples = [
        s for family in text_string_to_metric_families(text) for s in family.samples if "worker" in s.labels
    ]
    assert samples
    assert {sample.labels["worker"] for sample in samples} == {hostile}
    assert not any("evil" in sample.labels for sample in samples)
