"""The scheduler's golden transcripts: they read as documentation, and this keeps them true.

After a change that is meant, have them written anew and read the difference::

    GRADLOOM_REWRITE_TRANSCRIPTS=1 pytest tests/unit/coordinator/scheduling/test_transcripts.py
"""

import os
from pathlib import Path

import pytest

from builders.transcripts import replay, transcripts

FILES = transcripts(Path(__file__).parent / "transcripts")


def test_there_are_transcripts() -> None:
    assert len(FILES) >= 4


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_the_scheduler_answers_as_the_transcript_says(path: Path) -> None:
    written = path.read_text(encoding="utf-8")
    answered = replay(written)
    if os.environ.get("GRADLOOM_REWRITE_TRANSCRIPTS"):
        path.write_text(answered, encoding="utf-8")
    else:
        assert answered == written, f"{path.name} is out of date; the module's docstring says how to renew it"
