"""A job in TensorBoard: rounds as scalars, settings, steering and events as text, the model's file beside them."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gradloom.extras import missing
from gradloom.jobs import JobEvent, JobView, RoundCompleted
from gradloom.loggers.run_logger import finite, metrics_of, parameters_of, sentence_of, steering_of

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter

    from gradloom.models import Model


class TensorBoardLogger:
    """Writes one job under ``folder``, in a folder named after it. Needs the extra ``tensorboard``."""

    def __init__(self, folder: str | os.PathLike[str], run_name: str = "") -> None:
        try:
            import tensorboardX  # noqa: F401 - whether it is there is said before the job is followed
        except ImportError as error:
            raise missing("TensorBoardLogger", "tensorboardX", "tensorboard") from error
        self._folder, self._run_name = Path(folder), run_name
        self.path: Path | None = None
        """The folder of the run, once it has begun."""
        self._writer: SummaryWriter | None = None
        self._step = 0

    def begin(self, view: JobView) -> None:
        """Open the run, with its settings as text."""
        from tensorboardX import SummaryWriter

        self.path = self._folder / (self._run_name or view.job_id)
        self._writer = SummaryWriter(str(self.path))
        self._say("settings", _table(parameters_of(view)), view.created_at)

    def __call__(self, event: JobEvent) -> None:
        """A round becomes scalars, anything else text at the round where it happened."""
        if not isinstance(event.what, RoundCompleted):
            self._say("events", sentence_of(event), event.at)
            return
        self._step = event.what.round
        for name, value in metrics_of(event.what).items():
            self._draw(f"training/{name}", value, event.at)

    def end(self, view: JobView, model: "Model | None") -> None:
        """Scores, steering and the model."""
        now = time.time()
        for name, value in finite(view.scores.items()).items():
            self._draw(f"scores/{name}", value, now)
        if view.steering:
            self._say("steering", _table(steering_of(view)), now)
        if model is not None and self.path is not None:
            model.save(self.path / "model.safetensors")
            self._say("model", f"model.safetensors, parameters {view.parameters_sha256}", now)

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _draw(self, tag: str, value: float, at: float) -> None:
        assert self._writer is not None, "begin comes first"
        self._writer.add_scalar(tag, value, self._step, walltime=at)

    def _say(self, tag: str, text: str, at: float) -> None:
        assert self._writer is not None, "begin comes first"
        self._writer.add_text(tag, text, self._step, walltime=at)


def _table(pairs: dict[str, str]) -> str:
    """As Markdown, which TensorBoard shows."""
    rows = [f"| {name} | {text.replace('|', '/')} |" for name, text in pairs.items()]
    return "\n".join(["| | |", "|---|---|", *rows])
