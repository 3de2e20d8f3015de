"""What went wrong and what it cost, how training goes, and what travels: retries, training, gradients and network."""

from panels import RED, YELLOW, Limit, Row, panel
from queries import J, W, in_range, mean, quantile, rate, total_rate

RETRIES = Row(
    "Retries and fault tolerance",
    (
        panel(
            "Retries",
            "Tasks that have to be computed again, by why. A few after a loss are how it should be; a steady rate is "
            "not.",
            "short",
            (
                f"sum by (reason) (increase(gradloom_task_retries_total{{{J},{W}}}[$__rate_interval]))",
                "{{reason}}",
            ),
            shape="stack",
            limits=(Limit(10, YELLOW), Limit(100)),
        ),
        panel(
            "Whose tasks failed, and why",
            "The worker on which tries came to nothing. One name with one reason is that machine's fault; one reason "
            "on all is the job's.",
            "short",
            (f"{in_range('task_retries_total', 'worker, reason', f'{J},{W}')} > 0", "{{worker}}: {{reason}}"),
            shape="bars",
            limits=(Limit(1, YELLOW), Limit(10)),
            decimals=0,
        ),
        panel(
            "How tasks ended",
            "superseded: another worker was faster; cancelled: nobody needed it any more; failed and timeout: see "
            "Retries.",
            "short",
            (rate("tasks_total", "outcome", J), "{{outcome}}"),
        ),
        panel(
            "Tries left",
            "Of the shards that failed most often of late. At 0 the job fails, naming them.",
            "short",
            (f"gradloom_retry_budget_remaining{{{J}}}", "{{job_id}}"),
            base=RED,
            limits=(Limit(2, YELLOW), Limit(3, "green")),
            decimals=0,
        ),
        panel(
            "Wasted compute",
            "Workers' time that came to nothing over their time on tasks. What faults, copies and cancelled work "
            "cost.",
            "percentunit",
            ("gradloom:rework:ratio_rate5m", "all, over five minutes"),
            (
                f"{rate('rework_seconds_total', 'reason', J)} / on () group_left "
                f"clamp_min({total_rate('worker_busy_seconds_total')}, 1e-9)",
                "{{reason}}",
            ),
            limits=(Limit(0.05, YELLOW), Limit(0.2)),
        ),
        panel(
            "Time until trouble is noticed",
            "From a lost worker's last sign of life until others took over. A broken stream shows at once, silence "
            "after 5 s.",
            "s",
            (f"{mean('failure_detection_seconds')} or vector(0)", "mean"),
            limits=(Limit(5.5, YELLOW), Limit(10)),
        ),
        panel(
            "Time to recover",
            "worker: until another has computed a lost worker's task; stream: until a session is resumed; "
            "coordinator: from its start until a job goes on.",
            "s",
            (quantile(0.95, "recovery_seconds", "kind"), "{{kind}}"),
            (
                "sum by (kind) (increase(gradloom_recovery_seconds_count[$__rate_interval]))",
                "{{kind}}, how often",
            ),
            limits=(Limit(10, YELLOW), Limit(30)),
        ),
        panel(
            "Backoff and tries",
            "How long shards are held back after a failure, and the try at which answers succeed (1 = the first).",
            "short",
            (f"{mean('retry_backoff_seconds')} or vector(0)", "backoff, s"),
            (f"{mean('task_attempts')} or vector(1)", "tries"),
            limits=(Limit(2, YELLOW), Limit(4)),
        ),
        panel(
            "Answers that did not count",
            "Each shard counts once a round: what comes late or twice is dropped. Harmless, but each one was "
            "computed.",
            "short",
            (
                "sum by (reason) (increase(gradloom_duplicate_results_dropped_total[$__rate_interval]))",
                "{{reason}}",
            ),
            shape="stack",
        ),
        panel(
            "Given up",
            "Tasks that failed for good, with their jobs. More than 0: `gradloom show` names the shards and the "
            "reason.",
            "short",
            ("sum by (reason) (increase(gradloom_tasks_quarantined_total[$__range]))", "{{reason}}"),
            shape="bars",
            limits=(Limit(1),),
            decimals=0,
        ),
        panel(
            "Sessions that were resumed or begun anew",
            "By worker and by how the session before ended. One worker again and again: its network.",
            "short",
            (in_range("grpc_stream_reconnects_total", "worker, code", W), "{{worker}} {{code}}"),
            shape="bars",
            limits=(Limit(1, YELLOW), Limit(10)),
            decimals=0,
        ),
        panel(
            "Not finite",
            "Partials with NaN or Inf, which never reach the sum. More than 0: the learning rate, or the data.",
            "short",
            (f"sum by (job_id) (increase(gradloom_nonfinite_updates_total{{{J}}}[$__range]))", "{{job_id}}"),
            shape="bars",
            limits=(Limit(1),),
            decimals=0,
        ),
    ),
)

TRAINING = Row(
    "Training",
    (
        panel(
            "Loss",
            "After each round. It should fall; validation that rises while train falls is overfitting. Marks show "
            "steering.",
            "short",
            (f"gradloom_loss{{{J}}}", "{{job_id}} {{split}}"),
        ),
        panel(
            "Gradient norm",
            "Falls towards 0 as training converges. A jump upwards: the learning rate is too high.",
            "short",
            (f"gradloom_gradient_norm{{{J}}}", "{{job_id}}"),
        ),
        panel(
            "Learning rate",
            "In force in the last round, schedules and steering included.",
            "short",
            (f"gradloom_learning_rate{{{J}}}", "{{job_id}}"),
        ),
        panel(
            "Scores",
            "Of the model on the rows that were held out, once it is assessed.",
            "short",
            (f"gradloom_score{{{J}}}", "{{job_id}} {{split}} {{metric}}"),
            shape="bars",
            decimals=4,
        ),
        panel(
            "Round time",
            "How long a round of training takes. Longer than before with the same data: stragglers, or less workers.",
            "s",
            (quantile(0.5, "round_seconds", "job_id", J), "{{job_id}} half"),
            (quantile(0.95, "round_seconds", "job_id", J), "{{job_id}} 95 %"),
            limits=(Limit(60, YELLOW), Limit(600)),
        ),
        panel(
            "Rounds a second",
            "0 while a job runs: it makes no progress. See Who was last, and Retries.",
            "ops",
            (rate("rounds_total", "job_id", J), "{{job_id}}"),
            base=RED,
            limits=(Limit(1e-6, "green"),),
        ),
        panel(
            "Rows a second",
            "Rows that training goes over, by job: the speed of the whole cluster.",
            "rowsps",
            (rate("rows_total", "job_id", J), "{{job_id}}"),
        ),
        panel(
            "Round",
            "Rounds done. A step back is a rollback, or a restart of the coordinator from its last checkpoint.",
            "short",
            (f"gradloom_round{{{J}}}", "{{job_id}}"),
            decimals=0,
        ),
        panel(
            "Time left",
            "If every round that is allowed is needed: training that converges ends earlier.",
            "s",
            (f"gradloom_eta_seconds{{{J}}}", "{{job_id}}"),
            shape="number",
            limits=(Limit(86400, YELLOW),),
        ),
        panel(
            "Goodput",
            "Time on tasks that counted over all time on tasks. Below 90 %: see Wasted compute.",
            "percentunit",
            (f"gradloom_goodput_ratio{{{J}}}", "{{job_id}}"),
            base=RED,
            limits=(Limit(0.7, YELLOW), Limit(0.9, "green")),
            maximum=1,
        ),
        panel(
            "State",
            "The state of each job over time. A job that goes between running and paused: its database or disk is "
            "away.",
            "short",
            (f"max by (job_id, state) (gradloom_job_state{{{J}}}) == 1", "{{job_id}} {{state}}"),
            shape="timeline",
            limits=(Limit(1, "blue"),),
        ),
        panel(
            "What jobs are",
            "Algorithm, placement policy, and when rounds are over.",
            "short",
            (f"gradloom_job_info{{{J}}}", "{{job_id}}: {{algorithm}}, {{policy}}"),
            (f"gradloom_synchrony_info{{{J}}}", "{{job_id}}: {{mode}}"),
            shape="bars",
            decimals=0,
        ),
    ),
)

NETWORK = Row(
    "Gradients and network",
    (
        panel(
            "Gradients, raw and on the wire",
            "What partials take in memory and when sent; the space between the lines is what the codec saves.",
            "Bps",
            (rate("gradient_raw_bytes_total", "codec", J), "raw, {{codec}}"),
            (rate("gradient_wire_bytes_total", "codec, direction", J), "wire {{direction}}, {{codec}}"),
        ),
        panel(
            "Compression",
            "Raw over sent bytes of gradients: 1 without a codec, 2 for float16, up to 100 for sparse ones.",
            "short",
            ("gradloom:gradient_compression:ratio_rate5m", "{{job_id}}"),
            base=YELLOW,
            limits=(Limit(0.99, "green"),),
        ),
        panel(
            "Codec time",
            "Of one encoding or decoding. More than sending would take: `gradloom set JOB codec=none`.",
            "s",
            (quantile(0.95, "codec_seconds", "codec, op", J), "{{codec}} {{op}}"),
            limits=(Limit(0.1, YELLOW), Limit(1)),
        ),
        panel(
            "Relative error",
            "|decoded - wanted| / |wanted|. Below 0.01 for float16 and bfloat16, 0.05 for int8; near 1 is usual for "
            "sparse codecs, which send the rest later.",
            "percentunit",
            (f"gradloom_compression_relative_error{{{J}}}", "{{job_id}} {{codec}}"),
            limits=(Limit(0.05, YELLOW), Limit(0.98)),
        ),
        panel(
            "Held back",
            "Norm of what workers have left out and will send later, and how often a worker took its part with it. A "
            "norm that only grows: the codec keeps too little.",
            "short",
            (f"gradloom_residual_norm{{{J}}}", "{{job_id}} norm"),
            (f"gradloom_residual_resets_total{{{J}}}", "{{job_id}} lost with workers"),
        ),
        panel(
            "Bytes to and from workers",
            "All messages and frames. One coordinator moves about 2 GB/s.",
            "Bps",
            (rate("grpc_bytes_total", "direction"), "{{direction}}"),
            limits=(Limit(1e9, YELLOW), Limit(2e9)),
        ),
        panel(
            "Messages",
            "By kind. Each partial is one answer; take_back and cancel are helping and copying.",
            "ops",
            (rate("grpc_messages_total", "type, direction"), "{{type}} {{direction}}"),
        ),
        panel(
            "Way there and back",
            "A task's way to its worker and its answer's way back, without what the worker does. One worker far above "
            "the others: its network, or its event loop.",
            "s",
            (quantile(0.95, "grpc_rtt_seconds", "worker", W), "{{worker}}"),
            limits=(Limit(0.1, YELLOW), Limit(1)),
        ),
        panel(
            "Streams and stalls",
            "Two streams a worker. A stall is a transfer that waits until the other side has room.",
            "short",
            ("gradloom_grpc_streams_active", "streams"),
            (total_rate("flow_control_stalls_total"), "stalls a second"),
            limits=(Limit(2048, YELLOW),),
        ),
    ),
)
