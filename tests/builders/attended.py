"""Workers of a coordinator without gRPC; the scheduler is the real one."""

from dataclasses import dataclass, field

from gradloom.algorithms import versions
from gradloom.canonical import Range
from gradloom.settings import CoordinatorSettings
from gradloom.v1 import worker_pb2
from gradloom_coordinator.answers import AnswerCommand, Answers
from gradloom_coordinator.attendance import Attendance, WorkerCommand
from gradloom_coordinator.links import WorkerLink
from gradloom_coordinator.monitoring.metrics import CoordinatorMetrics
from gradloom_coordinator.runs import JobRun
from gradloom_coordinator.scheduling import commands as c
from gradloom_coordinator.scheduling import events as e
from gradloom_coordinator.scheduling.limits import Limits
from gradloom_coordinator.scheduling.scheduler import Scheduler

TASK = e.TaskRef("job-1", 3, Range(0, 1), 2)
KEY = worker_pb2.TaskKey(job_id="job-1", round=3, lo=0, hi=1, attempt=2)


@dataclass
class Cluster:
    """Attendance, answers, and the scheduler that both tell of what happens; time stands still unless told."""

    max_workers: int = 1024
    now: float = 100.0
    told: list[e.Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scheduler = Scheduler(Limits())
        settings = CoordinatorSettings(max_workers=self.max_workers)
        self.metrics, self.runs = CoordinatorMetrics(), dict[str, JobRun]()
        self.attendance = Attendance(settings, self.scheduler.state, self.runs, self.dispatch)
        self.answers = Answers(
            settings.partials_limit_bytes,
            self.scheduler.state,
            self.runs,
            self.attendance.links,
            self.metrics,
            self.dispatch,
        )

    def dispatch(self, event: e.Event) -> None:
        self.told.append(event)
        for command in self.scheduler.handle(event, self.now):
            if not isinstance(command, c.WakeAt):
                self.execute(command)  # type: ignore[arg-type]
        self.scheduler.state.check()

    def execute(self, command: WorkerCommand | AnswerCommand) -> None:
        if isinstance(command, AnswerCommand):
            self.answers.execute(command)
        else:
            self.attendance.execute(command)

    def join(self, name: str = "w", owner: str = "", **hello: object) -> WorkerLink:
        said = worker_pb2.Hello(name=name, algorithms=versions(), **hello)  # type: ignore[arg-type]
        return self.attendance.join(said, owner)

    def cut(self, link: WorkerLink) -> None:
        self.attendance.leave(link, "reset", goodbye=False)

    def names(self) -> list[str]:
        return [view.worker for view in self.attendance.views(self.now)]


def said(link: WorkerLink) -> list[worker_pb2.CoordinatorMessage]:
    """What waits to be written to a worker's session."""
    return [worker_pb2.CoordinatorMessage.FromString(message) for message in link.session._messages]
