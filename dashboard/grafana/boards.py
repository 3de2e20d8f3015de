"""What every dashboard has beside its panels: variables, annotations, and links to the others."""

from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as models
from panels import SOURCE, Row, add_rows

TAG = "gradloom"
ALL = ".*"


@dataclass(frozen=True, slots=True)
class Mark:
    """Events that are marked on all graphs, at the time that a gauge says."""

    name: str
    expr: str
    color: str
    title: str
    text: str


def worker_mark(name: str, event: str, color: str, text: str) -> Mark:
    """Something that happened to a worker."""
    expr = f'gradloom_worker_event_timestamp_seconds{{worker=~"$worker",event=~"{event}"}} * 1000'
    return Mark(name, expr, color, "{{worker}} {{event}}", text)


def job_mark(name: str, event: str, color: str, title: str) -> Mark:
    """Something that happened to a job."""
    expr = f'gradloom_job_event_timestamp_seconds{{job_id=~"$job_id",event=~"{event}"}} * 1000'
    return Mark(name, expr, color, title, "{{job_id}}: {{event}} {{what}}")


MARKS = (
    worker_mark("Worker lost", "lost|broke_off", "red", "{{reason}}"),
    worker_mark("Worker joined", "joined|resumed|restarted|readmitted", "green", "{{reason}}"),
    worker_mark("Worker excluded", "excluded|drained", "orange", "{{reason}}"),
    worker_mark("Chaos", "chaos", "purple", "a person had it suffer: {{reason}}"),
    Mark(
        "Coordinator started",
        'process_start_time_seconds{job="gradloom-coordinator"} * 1000',
        "dark-red",
        "coordinator started",
        "{{instance}}",
    ),
    job_mark("Checkpoint", "checkpoint", "light-blue", "checkpoint"),
    job_mark("Steering", "steered", "yellow", "{{what}} changed"),
    job_mark("Job submitted or ended", "submitted|ended", "blue", "job {{event}}"),
)


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard."""

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]
    one_worker: bool = False
    """Whether it is about one worker, which is chosen; likewise one job."""
    one_job: bool = False


def built(board: Board) -> models.Dashboard:
    """The dashboard as Grafana reads it."""
    made = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags([TAG])
        .refresh("5s")
        .time("now-15m", "now")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(_chosen("job_id", "Job", "gradloom_job_state", one=board.one_job))
        .with_variable(_chosen("worker", "Worker", "gradloom_worker_up", one=board.one_worker))
        .link(_links())
    )
    for mark in MARKS:
        made.annotation(_annotation(mark))
    add_rows(made, board.rows)
    return made.build()


def _chosen(name: str, label: str, family: str, *, one: bool) -> dashboard.QueryVariable:
    variable = (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(f"label_values({family}, {name})")
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.NATURAL_ASC)
        .multi(not one)
        .include_all(not one)
    )
    return variable if one else variable.all_value(ALL)


def _links() -> dashboard.DashboardLink:
    return (
        dashboard.DashboardLink("gradloom")
        .type(models.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(True)
        .include_vars(True)
        .keep_time(True)
    )


def _annotation(mark: Mark) -> dashboard.AnnotationQuery:
    return (
        dashboard.AnnotationQuery()
        .name(mark.name)
        .datasource(SOURCE)
        .enable(True)
        .icon_color(mark.color)
        .expr(mark.expr)
        .title_format(mark.title)
        .text_format(mark.text)
        .use_value_for_time(True)
    )
