"""Who is there, what everybody does, and who holds the others up: health, load, stragglers."""

from panels import RED, YELLOW, Limit, Row, panel
from queries import J, W, in_range, quantile, rate, share, total_rate

BUSY = f"{rate('worker_busy_seconds_total', 'worker', W)} / on (worker) max by (worker) (gradloom_worker_slots{{{W}}})"


def phases(chosen: str = W) -> str:
    """Share of a worker's time by phase."""
    by_phase, all_of_it = (
        rate("worker_time_seconds_total", "worker, phase", chosen),
        rate("worker_time_seconds_total", "worker", W),
    )
    return f"{by_phase} / on (worker) group_left {all_of_it}"


HEALTH = Row(
    "Health",
    (
        panel(
            "Workers",
            "Workers that are connected. Fewer than you started: look at Worker events and at who is down below.",
            "short",
            ("sum(gradloom_worker_up)", "up"),
            shape="number",
            base=RED,
            limits=(Limit(1, "green"),),
            width=4,
            height=6,
            decimals=0,
        ),
        panel(
            "Workers by state",
            "busy and idle are well. suspect: not heard for 3 s; away: its stream broke and it may come back; "
            "excluded: fails too often or was excluded by a person; lost: gone within the last five minutes.",
            "short",
            ("gradloom_workers", "{{state}}"),
            shape="bars",
            width=5,
            height=6,
            decimals=0,
        ),
        panel(
            "Jobs by state",
            "queued jobs wait for one of two places. A failed job says why in its Job dashboard and `gradloom show`.",
            "short",
            ("gradloom_jobs", "{{state}}"),
            shape="bars",
            width=5,
            height=6,
            decimals=0,
        ),
        panel(
            "Alerts",
            "Alerts that fire now; each has a page in docs/runbooks that says what to do.",
            "short",
            ('count(ALERTS{alertstate="firing"}) or vector(0)', "firing"),
            shape="number",
            limits=(Limit(1),),
            width=4,
            height=6,
            decimals=0,
        ),
        panel(
            "Progress",
            "Rounds done of those that are allowed; a job that converges ends earlier. A line that stays level: see "
            "Rounds.",
            "percentunit",
            (f"gradloom_progress_ratio{{{J}}}", "{{job_id}}"),
            width=6,
            height=6,
            maximum=1,
        ),
        panel(
            "Who is up",
            "A bar for each worker: green while it is connected. A gap is a loss; the marks say which kind.",
            "bool_on_off",
            (f"gradloom_worker_up{{{W}}}", "{{worker}}"),
            shape="timeline",
            base=RED,
            limits=(Limit(1, "green"),),
            width=12,
        ),
        panel(
            "Last sign of life",
            "Heartbeats come every second. From 3 s on a worker gets no new work, after 5 s it is given up.",
            "s",
            (f"gradloom_worker_heartbeat_age_seconds{{{W}}}", "{{worker}}"),
            limits=(Limit(3, YELLOW), Limit(5)),
            width=6,
        ),
        panel(
            "Worker events",
            "What happened to workers. joined and left are ordinary; lost, broke_off and excluded are not.",
            "short",
            (
                "sum by (event, reason) (increase(gradloom_worker_events_total[$__rate_interval]))",
                "{{event}} {{reason}}",
            ),
            shape="stack",
            limits=(Limit(5, YELLOW),),
            width=6,
        ),
        panel(
            "Scrapes",
            "Whether Prometheus reaches the coordinator and the workers. 0: that page does not answer, and what it "
            "would say is missing on all panels.",
            "bool_on_off",
            ('up{job=~"gradloom.*"}', "{{job}} {{instance}}"),
            shape="timeline",
            base=RED,
            limits=(Limit(1, "green"),),
            width=12,
        ),
        panel(
            "What workers are",
            "Node, version and cores of each worker. Two versions at once are refused when they join.",
            "short",
            (f"gradloom_worker_info{{{W}}}", "{{worker}} on {{node}}, {{version}}, {{cores}} cores"),
            shape="bars",
            width=12,
            decimals=0,
        ),
    ),
)

LOAD = Row(
    "Load balance",
    (
        panel(
            "Busy",
            "Share of its time that each worker spends on tasks. Lines that lie together are balanced work; one above "
            "the others is where the cluster waits, one below has too little.",
            "percentunit",
            (BUSY, "{{worker}}"),
            maximum=1,
            limits=(Limit(0.95, YELLOW),),
        ),
        panel(
            "Imbalance",
            "The longest that a worker was busy over the mean of all: 1 is perfect, 2 means that a round takes twice "
            "as long as it had to. By round (measured) and over a minute (from rates).",
            "short",
            (f"gradloom_load_imbalance_ratio{{{J}}}", "{{job_id}}"),
            ("gradloom:load_imbalance:ratio_rate1m", "all, over a minute"),
            limits=(Limit(1.3, YELLOW), Limit(2)),
        ),
        panel(
            "Where time goes",
            "Of all workers together. Much barrier_wait: some wait for others; load: shards do not fit into memory; "
            "decode and send: the network; idle: no job.",
            "percentunit",
            (f"avg by (phase) ({phases()})", "{{phase}}"),
            shape="stack",
            maximum=1,
        ),
        panel(
            "Where each worker's time goes",
            "The same for each worker, without the waiting: compare workers phase by phase.",
            "percentunit",
            (
                phases(W + ',phase!~"idle|barrier_wait"'),
                "{{worker}} {{phase}}",
            ),
            limits=(Limit(0.95, YELLOW),),
        ),
        panel(
            "Rows a second by worker",
            "Rows that each worker computes on. Balanced by speed, faster workers have more.",
            "rowsps",
            (rate("worker_rows_total", "worker", f"{W},{J}"), "{{worker}}"),
            shape="stack",
        ),
        panel(
            "Speed while computing",
            "Moving average of a worker's own computing: what placement goes by. One far below its like is a slow "
            "machine.",
            "rowsps",
            (f"gradloom_worker_throughput_rows_per_second{{{W}}}", "{{worker}}"),
        ),
        panel(
            "Backlog",
            "What each worker has in hand and in its queue will probably take. Those with much are helped by the "
            "others.",
            "s",
            (f"gradloom_worker_occupancy_seconds{{{W}}}", "{{worker}}"),
            limits=(Limit(30, YELLOW),),
        ),
        panel(
            "Tasks in hand",
            "Tasks that each worker has been given and has not answered; a slot computes one at a time.",
            "short",
            (f"gradloom_worker_inflight_tasks{{{W}}}", "{{worker}}"),
            limits=(Limit(32, YELLOW),),
        ),
        panel(
            "Shards",
            "Shards that are placed on each worker, of all jobs that run.",
            "short",
            (f"gradloom_worker_shards{{{W}}}", "{{worker}}"),
        ),
        panel(
            "Work taken over",
            "helped: from the queue of another; given_up: a worker was asked to give it up. Much of it, round after "
            "round: placement does not fit the speeds.",
            "short",
            (f"sum by (result) (increase(gradloom_steals_total{{{J}}}[$__rate_interval]))", "{{result}}"),
            shape="stack",
        ),
        panel(
            "Shards that moved",
            "Shards that changed their owner, by why. Each must be loaded again: a steady stream is trouble.",
            "short",
            (
                f"sum by (reason) (increase(gradloom_rebalanced_shards_total{{{J}}}[$__rate_interval]))",
                "{{reason}}",
            ),
            shape="stack",
        ),
        panel(
            "Had its shards",
            "Share of tasks whose worker had the shards in memory. Low outside of a job's beginning: workers have too "
            "little memory, or shards move too often.",
            "percentunit",
            (
                share(total_rate("locality_hits_total", 'result="hit"'), total_rate("locality_hits_total")),
                "hits",
            ),
            base=RED,
            limits=(Limit(0.5, YELLOW), Limit(0.9, "green")),
            maximum=1,
        ),
    ),
)

STRAGGLERS = Row(
    "Stragglers",
    (
        panel(
            "Slow against the others",
            "A worker's time per row over the median of all in the last round. Above 1.5 it is a straggler; a worker "
            "with more rows is not slow for that.",
            "short",
            (f"gradloom_worker_slowdown_ratio{{{W}}}", "{{worker}}"),
            limits=(Limit(1.5, YELLOW), Limit(3)),
        ),
        panel(
            "Who was slow, and why",
            "Rounds in which each worker was slow, by cause. compute: a slow or shared CPU; data: loading; memory: "
            "loading again; network: the way there and back.",
            "short",
            (f"{in_range('stragglers_detected_total', 'worker, cause', W)} > 0", "{{worker}}: {{cause}}"),
            shape="bars",
            limits=(Limit(1, YELLOW), Limit(10)),
            decimals=0,
        ),
        panel(
            "Slow right now",
            "Coloured while a worker is slow. A steady bar is a chronic straggler: drain it, or give it less.",
            "bool_yes_no",
            (f"max by (worker) (gradloom_worker_straggler{{{W}}})", "{{worker}}"),
            shape="timeline",
            limits=(Limit(1),),
        ),
        panel(
            "Who was last",
            "Rounds that ended with this worker's answer. Even counts are chance; one name on top is the straggler.",
            "short",
            (f"topk(5, {in_range('barrier_last_arrivals_total', 'worker', W)})", "{{worker}}"),
            shape="bars",
            decimals=0,
        ),
        panel(
            "Waited for this one alone",
            "Seconds a second in which all others had answered and the round waited for this worker: what it costs.",
            "percentunit",
            (rate("critical_path_seconds_total", "worker", W), "{{worker}}"),
            limits=(Limit(0.2, YELLOW), Limit(0.5)),
        ),
        panel(
            "Waiting for the end of a round",
            "How long workers wait for the others. Compare with Round time: the share that waiting takes is lost.",
            "s",
            (quantile(0.5, "barrier_wait_seconds", chosen=J), "half"),
            (quantile(0.95, "barrier_wait_seconds", chosen=J), "95 %"),
            limits=(Limit(10, YELLOW),),
        ),
        panel(
            "Copies of late tasks",
            "won: the copy was first; lost: the original was; cancelled: neither was needed. Many lost: copying too "
            "early.",
            "short",
            (
                f"sum by (result) (increase(gradloom_speculative_tasks_total{{{J}}}[$__rate_interval]))",
                "{{result}}",
            ),
            shape="stack",
        ),
        panel(
            "Does copying pay",
            "Seconds saved less seconds wasted, a second. Below 0 for long: it leaves off by itself, or `gradloom set "
            "JOB speculation=off`.",
            "s",
            (total_rate("speculative_saved_seconds_total", J), "saved"),
            ("-" + total_rate("speculative_wasted_seconds_total", J), "wasted"),
            ("gradloom:speculation_gain:seconds_rate5m", "gain over five minutes"),
            base=RED,
            limits=(Limit(0, "green"),),
        ),
        panel(
            "Task time",
            "What 95 % of each worker's tasks take at most: load, compute, encode.",
            "s",
            (quantile(0.95, "task_duration_seconds", "worker", W), "{{worker}}"),
            limits=(Limit(10, YELLOW), Limit(100)),
        ),
        panel(
            "Staleness",
            "How many updates old partials are that count. 0 in synchronous jobs; more means noisier steps.",
            "short",
            (
                f"sum(rate(gradloom_gradient_staleness_rounds_sum{{{J}}}[$__rate_interval])) / "
                f"clamp_min(sum(rate(gradloom_gradient_staleness_rounds_count{{{J}}}[$__rate_interval])), 1e-9)",
                "mean",
            ),
            (quantile(0.95, "gradient_staleness_rounds", chosen=J), "95 %"),
            limits=(Limit(3, YELLOW), Limit(10)),
        ),
        panel(
            "Left out of updates",
            "Partials that came too late or were too old, and shards that relaxed rounds ended without. None in "
            "synchronous jobs.",
            "short",
            ("sum by (reason) (increase(gradloom_gradients_dropped_total[$__rate_interval]))", "{{reason}}"),
            shape="stack",
        ),
        panel(
            "Held by the bound on staleness",
            "Workers with nothing to do because a bounded job may not run further ahead of its slowest worker.",
            "short",
            ("gradloom_ssp_blocked_workers", "workers"),
            limits=(Limit(1, YELLOW),),
            decimals=0,
        ),
    ),
)
