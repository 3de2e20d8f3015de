"""Where a coordinator keeps models: in a folder of its own, and with a lease also where those after it find them.

With a lease a file's name holds the epoch: one that has lost its lease, and does not know it yet, overwrites nothing.
Everything that moves bytes blocks: it is called in threads, with ``in_thread``.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from gradloom import model_file
from gradloom.data.sources.opening import filesystem
from gradloom.data.sources.stores import only_os_errors, write_object
from gradloom.models import Model, model_from_bytes
from gradloom.settings import CoordinatorSettings
from gradloom.whole_files import PUBLIC, write_whole
from gradloom_coordinator.scheduling.events import JobId

T = TypeVar("T")
THREADS = 8


class ModelFiles:
    """The models of all jobs; ``epoch`` is known once the database is open."""

    def __init__(self, settings: CoordinatorSettings) -> None:
        self.folder = settings.data_dir / "models"
        self.epoch = 0
        self._keys = settings.keys
        self._shared = f"{settings.checkpoint_uri.rstrip('/')}/models" if settings.lease else ""
        # threads of its own: a dead mount must not take those that everybody else needs
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="models")

    async def in_thread(self, work: Callable[..., T], *given: object) -> T:
        """Do one of the things that block beside the event loop. Raises what it raises."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(work, *given))

    def new(self, job: JobId) -> Path:
        """Where a model is to be written."""
        return self.folder / (f"{job}-{self.epoch}.safetensors" if self._shared else f"{job}.safetensors")

    def found(self, stored: str) -> Path:
        """Where a model is here that some coordinator has written."""
        return self.folder / Path(stored).name if self._shared else Path(stored)

    def share(self, path: Path) -> None:
        """Lay a model that is complete where those that take over find it. Raises OSError."""
        if not self._shared:
            return
        content = path.read_bytes()
        with only_os_errors(self._shared):
            fs, folder = filesystem(self._shared)
            write_object(fs, folder, path.name, [content])

    def bring(self, path: Path) -> Path:
        """Have a model here that another coordinator has written; the path. Raises OSError."""
        if self._shared and not path.exists():
            with only_os_errors(self._shared):
                fs, folder = filesystem(self._shared)
                content = fs.cat_file(f"{folder}/{path.name}")
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, content, PUBLIC)
        return path

    def write(self, model: Model, path: Path) -> None:
        """Write a model, encrypted if there is a key. Raises OSError."""
        model.save(path, self._keys)

    def read(self, path: Path) -> bytes:
        """The file of a model, wherever it is, as it was before it was encrypted. Raises OSError, ModelFileError."""
        return model_file.read(self.bring(path), self._keys)

    def load(self, path: Path) -> Model:
        """A model, wherever it is. Raises OSError, ModelFileError."""
        return model_from_bytes(self.read(path))
