"""The coordinator itself, and what processes take: decisions, durability, memory, CPU."""

from panels import GREEN, RED, YELLOW, Limit, Row, panel
from queries import W, in_range, quantile, rate, share, total_rate

COORDINATOR_JOB = 'job="gradloom-coordinator"'
DAY_S = 86_400
CERTIFICATE = "gradloom_tls_certificate_expiry_timestamp_seconds"
CERTIFICATE_LEFT = f"min by (job, instance) (({CERTIFICATE} - time()) * ({CERTIFICATE} > bool 0))"

COORDINATOR = Row(
    "Coordinator",
    (
        panel(
            "Event loop lag",
            "How late the coordinator comes to its timer. Above 0.1 s heartbeats and answers wait: too many workers "
            "or too short rounds for one coordinator.",
            "s",
            (quantile(0.99, "scheduler_loop_lag_seconds"), "99 %"),
            limits=(Limit(0.1, YELLOW), Limit(0.5)),
        ),
        panel(
            "Time of a decision",
            "What the scheduler takes over an event; with a policy's name where it opened a round.",
            "s",
            (quantile(0.99, "scheduler_decision_seconds", "policy"), "{{policy}} 99 %"),
            limits=(Limit(0.01, YELLOW), Limit(0.1)),
        ),
        panel(
            "Tasks given out",
            "By policy: the coordinator's own load.",
            "ops",
            (rate("scheduler_assignments_total", "policy"), "{{policy}}"),
            limits=(Limit(5000, YELLOW),),
        ),
        panel(
            "Tasks of open rounds",
            "pending: with nobody yet; assigned: lie with a worker; running: are computed.",
            "short",
            ('sum by (state) (gradloom_tasks{job_id=~"$job_id"})', "{{state}}"),
            shape="stack",
        ),
        panel(
            "Waiting at workers",
            "How long tasks lie with their worker before it begins them: a little, so that it never waits itself.",
            "s",
            (quantile(0.5, "task_queue_wait_seconds"), "half"),
            (quantile(0.95, "task_queue_wait_seconds"), "95 %"),
            limits=(Limit(5, YELLOW),),
        ),
        panel(
            "What people did",
            "Calls that change something, by how they ended; a refusal says which field was wrong.",
            "short",
            (
                f"{in_range('control_commands_total', 'command, result, role')} > 0",
                "{{command}} {{result}} ({{role}})",
            ),
            shape="bars",
            decimals=0,
        ),
        panel(
            "Time until a change is durable",
            "From a person's call until it is written down and answered.",
            "s",
            (quantile(0.95, "control_apply_seconds", "command"), "{{command}}"),
            limits=(Limit(1, YELLOW), Limit(5)),
        ),
        panel(
            "Age of checkpoints",
            "What a crash of the coordinator would cost each job; one is taken every ten seconds.",
            "s",
            ('gradloom_checkpoint_age_seconds{job_id=~"$job_id"}', "{{job_id}}"),
            limits=(Limit(30, YELLOW), Limit(120)),
        ),
        panel(
            "Writing checkpoints",
            "95 % of the writes, and the size of the last one.",
            "s",
            (quantile(0.95, "checkpoint_seconds"), "95 %"),
            limits=(Limit(1, YELLOW), Limit(10)),
        ),
        panel(
            "Checkpoints",
            "How they went. failed: the place can't be written to, and jobs pause; unusable: a damaged file was "
            "passed over.",
            "short",
            ("sum by (result) (increase(gradloom_checkpoints_total[$__rate_interval]))", "{{result}}"),
            shape="stack",
        ),
        panel(
            "Size of the last checkpoint",
            "Grows with the parameters and what the solver remembers.",
            "bytes",
            ("gradloom_checkpoint_bytes", "bytes"),
            shape="number",
            width=4,
        ),
        panel(
            "Starts and leadership",
            "Restarts since its first start, and 1 from the coordinator that decides.",
            "short",
            ("gradloom_coordinator_restarts_total", "restarts"),
            ("gradloom_coordinator_leader", "leader"),
            shape="number",
            limits=(Limit(10, YELLOW),),
            width=4,
            decimals=0,
        ),
        panel(
            "Database",
            "Time of a transaction. What people are told waits for one.",
            "s",
            (quantile(0.95, "store_write_seconds"), "95 %"),
            limits=(Limit(0.3, YELLOW), Limit(3)),
        ),
        panel(
            "Refused for who asked",
            "session: a stream of no session; token, certificate: nobody knows who calls; role: they may not do that; "
            "name: a worker comes under the name of another one's.",
            "short",
            (in_range("auth_failures_total", "reason"), "{{reason}}"),
            shape="bars",
            limits=(Limit(1, YELLOW), Limit(10)),
            decimals=0,
        ),
        panel(
            "Certificates",
            "How long those last that the processes show; 0: plain text. It jumps up when one is renewed, in the last "
            "third of its life; below two weeks nobody renews it.",
            "s",
            (CERTIFICATE_LEFT, "{{job}} {{instance}}"),
            base=RED,
            limits=(Limit(2 * DAY_S, YELLOW), Limit(14 * DAY_S, GREEN)),
        ),
    ),
)

RESOURCES = Row(
    "Resources",
    (
        panel(
            "Memory of workers",
            "Of the process (rss), of that shards, and answers that may be asked for again (buffers).",
            "bytes",
            (f'gradloom_worker_memory_bytes{{{W},kind!="limit"}}', "{{worker}} {{kind}}"),
        ),
        panel(
            "Memory against the limit",
            "Of the machine or the container. Near 100 % the worker is killed: give it more, or a smaller cache.",
            "percentunit",
            (
                f'gradloom_worker_memory_bytes{{{W},kind="rss"}} / ignoring (kind) '
                f'gradloom_worker_memory_bytes{{{W},kind="limit"}}',
                "{{worker}}",
            ),
            limits=(Limit(0.8, YELLOW), Limit(0.9)),
            maximum=1,
        ),
        panel(
            "CPU of workers",
            "Cores that each process uses. Computing takes one; much less while Busy says it computes: others take it "
            "away.",
            "short",
            (rate("worker_cpu_seconds_total", "worker", W), "{{worker}}"),
            limits=(Limit(1.5, YELLOW),),
        ),
        panel(
            "Shards in memory",
            "What the shards that a worker keeps take.",
            "bytes",
            (f"gradloom_worker_shard_bytes{{{W}}}", "{{worker}}"),
        ),
        panel(
            "Shard cache",
            "Share of lookups that found the shard in memory, and evictions a second. Evictions while a job runs: its "
            "shards do not fit.",
            "percentunit",
            (
                share(
                    total_rate("shard_cache_total", f'{W},result="hit"'),
                    total_rate("shard_cache_total", f'{W},result=~"hit|miss"'),
                ),
                "hits",
            ),
            (total_rate("shard_cache_total", f'{W},result="evict"'), "evictions a second"),
            base=RED,
            limits=(Limit(0.5, YELLOW), Limit(0.9, "green")),
        ),
        panel(
            "Reading shards",
            "Time to read one from its files, by format.",
            "s",
            (quantile(0.95, "shard_load_seconds", "source", W), "{{source}} 95 %"),
            limits=(Limit(10, YELLOW), Limit(60)),
        ),
        panel(
            "Tasks and rows at the workers",
            "As the workers count them: discarded is what nobody waited for any more.",
            "ops",
            (rate("worker_tasks_total", "outcome", W), "tasks {{outcome}}"),
        ),
        panel(
            "Rows at the workers",
            "As the workers count them; more than what counts where tasks are computed twice.",
            "rowsps",
            (rate("worker_computed_rows_total", "worker", W), "{{worker}}"),
            shape="stack",
        ),
        panel(
            "The coordinator's memory",
            "Grows with the parameters, the number of workers and of jobs that are kept.",
            "bytes",
            (f"process_resident_memory_bytes{{{COORDINATOR_JOB}}}", "rss"),
            (f"process_virtual_memory_bytes{{{COORDINATOR_JOB}}}", "virtual"),
            limits=(Limit(8e9, YELLOW),),
        ),
        panel(
            "The coordinator's CPU",
            "It has one event loop: near 1 it is the bottleneck.",
            "short",
            (f"rate(process_cpu_seconds_total{{{COORDINATOR_JOB}}}[$__rate_interval])", "cores"),
            limits=(Limit(0.7, YELLOW), Limit(0.95)),
        ),
        panel(
            "Open files",
            "Of all processes, as a share of what they may have.",
            "percentunit",
            ('process_open_fds{job=~"gradloom.*"} / process_max_fds', "{{job}} {{instance}}"),
            limits=(Limit(0.7, YELLOW), Limit(0.9)),
            maximum=1,
        ),
        panel(
            "Garbage collections",
            "Of Python, by generation. The oldest one is slow: it should be rare.",
            "ops",
            (
                'sum by (job, generation) (rate(python_gc_collections_total{job=~"gradloom.*"}[$__rate_interval]))',
                "{{job}} {{generation}}",
            ),
        ),
    ),
)
