"""The harm that a worker does to itself when it is told to. Only a worker that was started with --allow-chaos does.

What is asked for comes in on the event loop; the slowness is felt in the compute thread.
"""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from gradloom.canonical import Range
from gradloom.faults import Fault, FaultKind
from gradloom_worker.work import Computed, refuse_nonfinite

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.01
"""How often a stretched task looks whether it is still wanted."""
KILLED_STATUS = 137
AWAKEN = "import os, sys, time; time.sleep(float(sys.argv[1])); os.kill(int(sys.argv[2]), 18)"
"""What a helper process runs, beside us: 18 is SIGCONT, and a process that stands still can't wake itself."""


class Slowness:
    """Stretches tasks for a while."""

    def __init__(self, wanted: Callable[[], bool], clock: Callable[[], float]) -> None:
        """``wanted``: whether anybody waits for the task that is being computed."""
        self._wanted = wanted
        self._clock = clock
        self._factor = 1.0
        self._until = 0.0

    @property
    def active(self) -> bool:
        """Whether tasks are stretched now."""
        return self._clock() < self._until

    def begin(self, factor: float, seconds: float) -> None:
        """Have tasks take ``factor`` times as long from now on."""
        self._factor, self._until = factor, self._clock() + seconds

    def stretch(self, computed: Computed) -> Computed:
        """Wait until a task that has just been computed has taken long enough, or nobody wants it any more."""
        start = self._clock()
        took_s = computed.load_s + computed.compute_s
        until = min(start + (self._factor - 1.0) * took_s, self._until)
        while (left_s := until - self._clock()) > 0 and self._wanted():
            time.sleep(min(LOOK_EVERY_S, left_s))
        return replace(computed, compute_s=computed.compute_s + self._clock() - start)


class Partition:
    """A gate before a stream: while it is shut nothing passes, and the other side is told nothing."""

    def __init__(self, call: Any, gate: asyncio.Event) -> None:
        self._call = call
        self._gate = gate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    async def read(self) -> Any:
        """The next message, once the gate is open."""
        message = await self._call.read()
        await self._gate.wait()
        return message

    async def write(self, message: bytes) -> None:
        """Write a message once the gate is open."""
        await self._gate.wait()
        await self._call.write(message)


class Chaos:
    """Does to this process what a fault says."""

    def __init__(self, *, allowed: bool, wanted: Callable[[], bool], clock: Callable[[], float]) -> None:
        self.slowness = Slowness(wanted, clock)
        self._allowed = allowed
        self._corrupt = self._nan = 0
        self._gate = asyncio.Event()
        self._gate.set()
        self._opens: asyncio.TimerHandle | None = None

    def inject(self, fault: Fault) -> None:
        """Suffer this from now on, on the event loop; not if this worker was not started for it."""
        if not self._allowed:
            log.warning("told to suffer a fault (%s), which was not allowed with --allow-chaos", fault)
            return
        log.warning("chaos: %s", fault)
        match fault.kind:
            case FaultKind.SLOW:
                self.slowness.begin(fault.factor, fault.seconds)
            case FaultKind.KILL:
                os.kill(os.getpid(), signal.SIGKILL)
                os._exit(KILLED_STATUS)  # process 1 of a container can't kill itself
            case FaultKind.PAUSE:
                _stand_still(fault.seconds)
            case FaultKind.PARTITION:
                self._shut(fault.seconds)
            case FaultKind.CORRUPT:
                self._corrupt = fault.count
            case FaultKind.NAN:
                self._nan = fault.count

    def guard(self, call: Any) -> Any:
        """A stream that a partition can shut; the stream itself where none is allowed."""
        return Partition(call, self._gate) if self._allowed else call

    def corrupts_next(self) -> bool:
        """Whether the partial that is about to be sent is to be damaged; asked once for each."""
        if not self._corrupt:
            return False
        self._corrupt -= 1
        return True

    def spoil(self, computed: Computed, shards: Range) -> None:
        """Have a partial that has just been computed hold NaN if it is to. Raises NonFinite, as any that does."""
        if not self._nan:
            return
        self._nan -= 1
        name = next(iter(computed.partial))
        refuse_nonfinite({name: np.full(1, np.nan)}, shards)

    def _shut(self, seconds: float) -> None:
        if self._opens is not None:
            self._opens.cancel()
        self._gate.clear()
        self._opens = asyncio.get_running_loop().call_later(seconds, self._gate.set)


def damaged(content: bytes) -> bytes:
    """The same bytes but the last."""
    return content[:-1] + bytes([content[-1] ^ 0xFF])


def _stand_still(seconds: float) -> None:
    here = str(os.getpid())
    helper = subprocess.Popen(  # noqa: S603 - our own interpreter, numbers for arguments
        [sys.executable, "-I", "-S", "-c", AWAKEN, str(seconds), here],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.kill(os.getpid(), signal.SIGSTOP)
    helper.wait()
