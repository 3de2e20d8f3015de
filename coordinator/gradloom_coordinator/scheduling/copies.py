"""What speculative copies have saved and wasted in one job, and when to leave off. Pure."""

from dataclasses import dataclass

REST_AFTER = 5
"""So many finished copies are needed before they are judged."""
REST_ROUNDS = 10
"""The first rest; each further one is twice as long."""


@dataclass(slots=True)
class CopyLedger:
    """Copies of one job."""

    launched: int = 0
    won: int = 0
    lost: int = 0
    cancelled: int = 0
    """Neither copy nor original was needed in the end, or its worker was lost."""
    cancelled_s: float = 0.0
    """What was computed of those in vain; it is no reason to leave off."""
    saved_s: float = 0.0
    wasted_s: float = 0.0
    rests: int = 0
    resting_until_round: int = 0
    _judged: int = 0
    _saved_then_s: float = 0.0
    _wasted_then_s: float = 0.0

    def rests_in(self, round_number: int) -> bool:
        """Whether nothing is to be copied in this round."""
        return round_number < self.resting_until_round

    def end(self, *, won: bool, saved_s: float, wasted_s: float) -> None:
        """One of two has answered first."""
        self.won += won
        self.lost += not won
        self.saved_s += saved_s
        self.wasted_s += wasted_s

    def judge(self, round_number: int) -> str:
        """Leave off for a while if the copies since the last look wasted more than they saved; says so."""
        if self.won + self.lost - self._judged < REST_AFTER:
            return ""
        saved, wasted = self.saved_s - self._saved_then_s, self.wasted_s - self._wasted_then_s
        self._judged, self._saved_then_s, self._wasted_then_s = (
            self.won + self.lost,
            self.saved_s,
            self.wasted_s,
        )
        if wasted <= saved:
            self.rests = 0
            return ""
        pause = REST_ROUNDS * 2**self.rests
        self.rests += 1
        self.resting_until_round = round_number + pause
        return f"copies wasted {wasted:.2g} s and saved {saved:.2g} s: none for {pause} rounds"
