"""Golden transcripts of the scheduler: what happens stands above a rule, all that it answers below.

The events are written as people would say them::

    join a b                      workers are welcomed
    beat a                        a sign of life
    wait 3.5                      seconds pass, and the clock ticks
    wait 3.5 a b                  the same, while these workers give signs of life
    leave a: SIGTERM              Goodbye
    drain a: maintenance          an operator wants it to leave
    leaving a: SIGTERM            it starts nothing more
    break a: connection reset     the stream ends without a Goodbye
    back a                        its session goes on; also: back a job/1 0-3 try 1, which it has been computing
    submit job                    also: submit job round_robin
    plan job 10 10 20             rows of each shard
    round job 1                   its broadcast is ready
    finish job: converged         also: abort job: no such file, cancel job: enough, pause job: why, resume job: why
    offer a job/1 0-3 try 1       a big partial is announced
    answer a job/1 0-3 try 1      a partial has arrived; all the time it was in hand was spent on computing it
    give a job/1 0-3 try 1        it has not begun that task and gives it up
    fail a job/1 0-3 try 1 nonfinite: NaN in 'gradient'       a task has failed
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from builders.scheduling import Desk
from gradloom.canonical import Range
from gradloom.jobs import RetryReason
from gradloom_coordinator.scheduling import commands as c
from gradloom_coordinator.scheduling import events as e

RULE = "----"
_TASK = r"(?P<worker>\S+) (?P<job>\S+)/(?P<round>\d+) (?P<lo>\d+)(-(?P<hi>\d+))? try (?P<attempt>\d+)"
_REASON = r"(?P<name>\S+): (?P<reason>.*)"
Words = re.Match[str]


def replay(text: str) -> str:
    """The transcript as the scheduler would have it: same events and remarks, fresh answers."""
    desk = Desk()
    return "\n\n".join(_answered(desk, block) for block in re.split(r"\n{2,}", text.strip())) + "\n"


def _answered(desk: Desk, block: str) -> str:
    said = block.split(f"\n{RULE}")[0].splitlines()
    events = [line for line in said if not line.startswith("#")]
    if not events:
        return block
    answers = [
        _sentence(command)
        for line in events
        for command in _happen(desk, line)
        if not isinstance(command, c.WakeAt)
    ]
    return "\n".join([*said, RULE, *(answers or ["nothing"])])


def _happen(desk: Desk, line: str) -> list[c.Command]:
    verb, _, rest = line.partition(" ")
    if verb == "wait":
        seconds, *alive = rest.split()
        return desk.tick_while_alive(float(seconds), *alive) if alive else desk.tick(float(seconds))
    if verb == "answer":
        return desk.tell(_answer(desk, rest))
    return [command for event in _events(verb, rest) for command in desk.tell(event)]


def _answer(desk: Desk, rest: str) -> e.PartialArrived:
    words = re.fullmatch(_TASK, rest)
    assert words, f"can't read 'answer' {rest!r}"
    ref, worker = _task(words), desk.scheduler.state.workers.get(words["worker"])
    job = desk.scheduler.state.jobs.get(ref.job)
    rows = job.rows_in(ref.range) if job is not None and ref.range.hi < len(job.rows_before) else 0
    given = worker.tasks.get(ref) if worker is not None else None
    began = max(given.at, worker.answered_at) if given is not None and worker is not None else desk.now
    return e.PartialArrived(
        words["worker"],
        ref,
        rows,
        e.TaskTimes(queue_s=began - given.at if given is not None else 0.0, compute_s=desk.now - began),
    )


def _events(verb: str, rest: str) -> Iterator[e.Event]:
    pattern, make = _VERBS[verb]
    if verb in ("join", "beat"):
        yield from (make(words) for word in rest.split() if (words := re.fullmatch(pattern, word)))
        return
    words = re.fullmatch(pattern, rest)
    assert words, f"can't read {verb!r} {rest!r}"
    yield make(words)


def _task(words: Words) -> e.TaskRef:
    lo = int(words["lo"])
    hi = int(words["hi"] or lo) + 1
    return e.TaskRef(words["job"], int(words["round"]), Range(lo, hi), int(words["attempt"]))


def _resumed(words: Words) -> e.WorkerResumed:
    if words["only"]:
        return e.WorkerResumed(words["only"])
    return e.WorkerResumed(words["worker"], computing=_task(words))


_VERBS: dict[str, tuple[str, Callable[[Words], e.Event]]] = {
    "join": (r"\S+", lambda w: e.WorkerJoined(w[0])),
    "beat": (r"\S+", lambda w: e.HeartbeatReceived(w[0])),
    "leave": (_REASON, lambda w: e.WorkerLeft(w["name"], w["reason"])),
    "break": (_REASON, lambda w: e.StreamBroken(w["name"], w["reason"])),
    "drain": (_REASON, lambda w: e.DrainRequested(w["name"], w["reason"])),
    "leaving": (_REASON, lambda w: e.WorkerDraining(w["name"], w["reason"])),
    "back": (rf"{_TASK}|(?P<only>\S+)", _resumed),
    "give": (_TASK, lambda w: e.TasksGivenUp(w["worker"], (_task(w),))),
    "pause": (_REASON, lambda w: e.PauseRequested(w["name"], w["reason"])),
    "resume": (_REASON, lambda w: e.ResumeRequested(w["name"], w["reason"])),
    "submit": (r"(\S+)(?: (\S+))?", lambda w: e.JobSubmitted(w[1], w[2] or "balanced")),
    "plan": (r"(\S+)((?: \d+)+)", lambda w: e.JobPlanned(w[1], tuple(map(int, w[2].split())))),
    "round": (r"(\S+) (\d+)", lambda w: e.RoundReady(w[1], int(w[2]))),
    "finish": (_REASON, lambda w: e.JobFinished(w["name"], w["reason"])),
    "abort": (_REASON, lambda w: e.JobBroken(w["name"], w["reason"])),
    "cancel": (_REASON, lambda w: e.CancelRequested(w["name"], w["reason"])),
    "offer": (_TASK, lambda w: e.PartialOffered(w["worker"], _task(w))),
    "fail": (
        rf"{_TASK} (?P<why>\w+): (?P<message>.*)",
        lambda w: e.TaskFailed(w["worker"], _task(w), RetryReason(w["why"]), w["message"]),
    ),
}


def _sentence(command: c.Command) -> str:
    match command:
        case c.SendTasks():
            tasks = ", ".join(f"{order.range} try {order.attempt}" for order in command.tasks)
            return f"send {command.worker} {command.job}/{command.round} {tasks} ({command.reason})"
        case c.TakeBack():
            return f"ask back {_listed(command)} ({command.reason})"
        case c.CancelTasks():
            return f"cancel {_listed(command)} ({command.reason})"
        case c.AcceptOffer():
            return f"grant credit to {_spoken(command)}"
        case c.MergePartial():
            return f"count {_spoken(command)}"
        case c.DropPartial():
            return f"drop {_spoken(command)}: {command.reason}"
        case c.EndSession():
            return f"end the session of {command.worker}: {command.reason}"
        case c.DrainWorker():
            return f"have {command.worker} drain: {command.reason}"
        case c.ForgetWorker():
            return f"forget the session of {command.worker}"
        case c.WakeAt():
            return f"look again at {command.at:g}"
        case _:
            return _of_a_job(command)


def _of_a_job(
    command: c.StartPlanning
    | c.StartRounds
    | c.CloseRound
    | c.ReleaseJob
    | c.AnnounceState
    | c.AnnounceRetry
    | c.AnnounceNote,
) -> str:
    match command:
        case c.StartPlanning():
            return f"look at the files of {command.job}"
        case c.StartRounds():
            return f"prepare the first round of {command.job}"
        case c.CloseRound():
            return f"close round {command.round} of {command.job}"
        case c.ReleaseJob():
            return f"release {command.job}"
        case c.AnnounceState():
            return f"say {command.job} is {command.state}: {command.reason}"
        case c.AnnounceRetry():
            shards = f"{command.job} {command.range} try {command.attempt}"
            return f"say {shards} is needed, {command.reason} on {command.worker}: {command.detail}"
        case c.AnnounceNote():
            return f"say to {command.job}: {command.text}"


def _listed(command: c.TakeBack | c.CancelTasks) -> str:
    refs = ", ".join(f"{ref.job}/{ref.round} {ref.range} try {ref.attempt}" for ref in command.tasks)
    return f"{command.worker} {refs}"


def _spoken(command: c.AcceptOffer | c.MergePartial | c.DropPartial) -> str:
    task = command.task
    return f"{command.worker} {task.job}/{task.round} {task.range} try {task.attempt}"


def transcripts(folder: Path) -> list[Path]:
    """The files of a folder, by name."""
    return sorted(folder.glob("*.txt"))
