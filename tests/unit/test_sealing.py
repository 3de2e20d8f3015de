"""Files that only a key opens: what goes in comes out, and nothing else ever does."""

import base64
import logging
import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.models import linear_model
from gradloom import load_model
from gradloom.cli import main
from gradloom.errors import InvalidInput, ModelFileError, SealBroken, WrongKey
from gradloom.keys import NO_KEYS, Key, Keyring, new_key, parse_keys
from gradloom.sealing import HEADER, TAG_BYTES, is_sealed, opened, sealed
from gradloom.settings import keys_from_environment

KEY, OTHER = Key(bytes(range(32))), Key(bytes(32))
RING = Keyring((KEY,))
KEY_TEXT = base64.b64encode(KEY.secret).decode()


def seal(data: bytes, key: Key = KEY, chunk_bytes: int = 16) -> bytes:
    return b"".join(sealed(data, key, chunk_bytes))


@given(st.binary(max_size=200), st.integers(1, 64))
def test_what_goes_in_comes_out(data: bytes, chunk_bytes: int) -> None:
    hidden = seal(data, chunk_bytes=chunk_bytes)
    assert is_sealed(hidden)
    assert is_sealed(data) == data.startswith(b"GLSEAL")
    assert opened(hidden, RING) == data
    chunks = max(1, -(-len(data) // chunk_bytes))
    assert len(hidden) == HEADER.size + len(data) + TAG_BYTES * chunks


def test_the_same_bytes_never_look_alike_and_nothing_of_them_shows() -> None:
    data = b"a secret that is long enough to be looked for"
    assert seal(data) != seal(data)
    assert data[:8] not in seal(data)
    assert KEY.secret not in seal(data)


@given(st.data())
def test_whatever_is_changed_is_noticed(draw: st.DataObject) -> None:
    hidden = bytearray(seal(bytes(range(100))))
    at = draw.draw(st.integers(len(b"GLSEAL"), len(hidden) - 1))
    hidden[at] ^= draw.draw(st.integers(1, 255))
    with pytest.raises(SealBroken):
        opened(bytes(hidden), RING)


@given(st.integers(0, HEADER.size + 3 * (16 + TAG_BYTES) - 1))
def test_wherever_it_is_cut_that_is_noticed(length: int) -> None:
    with pytest.raises(SealBroken):
        opened(seal(bytes(48))[:length], RING)


def test_chunks_can_be_neither_reordered_nor_repeated_nor_taken_from_elsewhere() -> None:
    hidden, step = seal(bytes(range(48))), 16 + TAG_BYTES
    head, (a, b, c) = hidden[: HEADER.size], [hidden[HEADER.size + i * step :][:step] for i in range(3)]
    other = seal(bytes(range(48)))[HEADER.size :][:step]
    for body in (b + a + c, a + a + b + c, a + c, a + b, a + b + c + c, c, other + b + c, b""):
        with pytest.raises(SealBroken):
            opened(head + body, RING)
    assert opened(head + a + b + c, RING) == bytes(range(48))


def test_a_header_that_promises_too_much_is_refused_at_once() -> None:
    import struct
    import zlib

    start = HEADER.pack(b"GLSEAL", 1, KEY.id_bytes, bytes(32), 2**32 - 1, 0)[:52]
    with pytest.raises(SealBroken, match="chunks of 4294967295 bytes"):
        opened(start + struct.pack("<I8x", zlib.crc32(start)) + bytes(64), RING)


def test_another_key_is_told_from_a_damaged_file_by_its_id() -> None:
    with pytest.raises(WrongKey) as refused:
        opened(seal(b"x"), Keyring((OTHER,)))
    assert KEY.id in refused.value.message
    assert OTHER.id in refused.value.message
    with pytest.raises(WrongKey, match="no key is given here"):
        opened(seal(b"x"), NO_KEYS)


def test_after_a_rotation_the_old_key_still_reads_and_the_new_one_writes() -> None:
    ring = Keyring((OTHER, KEY))
    assert opened(seal(b"old"), ring) == b"old"
    assert ring.writes == OTHER


# ---- keys as text


def test_a_key_is_base64_or_hexadecimal_and_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    text = new_key()
    ring = parse_keys(f"# mine\n{text}  # the new one\n\n{KEY.secret.hex()}\n", "FILE")
    assert [key.id for key in ring.keys] == [parse_keys(text, "x").keys[0].id, KEY.id]
    for shown in (repr(ring), str(ring), repr(ring.keys[0]), f"{ring.keys[0]}"):
        assert text not in shown
        assert repr(ring.keys[0].secret) not in shown
    logging.getLogger("x").warning("%s %r", ring, ring)
    assert text not in caplog.text


@pytest.mark.parametrize(
    "text",
    ["", "# nothing\n", "short", KEY_TEXT[:-4], "zz" * 32, f"{KEY_TEXT}x", "ä" * 44],
    ids=["empty", "comment", "short", "cut", "no hex", "too long", "no ascii"],
)
def test_what_is_no_key_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InvalidInput, match="gradloom keygen FILE makes one") as refused:
        parse_keys(text, "GRADLOOM_ENCRYPTION_KEY")
    assert len(text) < 8 or text.strip() not in str(refused.value)


def test_the_environment_names_a_key_or_a_file(tmp_path: Path) -> None:
    assert keys_from_environment({}) == NO_KEYS
    assert keys_from_environment({"GRADLOOM_ENCRYPTION_KEY": KEY.secret.hex()}) == RING
    (tmp_path / "key").write_text(KEY.secret.hex())
    assert keys_from_environment({"GRADLOOM_ENCRYPTION_KEY_FILE": str(tmp_path / "key")}) == RING
    for told, why in (
        ({"GRADLOOM_ENCRYPTION_KEY_FILE": str(tmp_path / "none")}, "No such file"),
        ({"GRADLOOM_ENCRYPTION_KEY_FILE": str(tmp_path)}, "directory"),
        ({"GRADLOOM_ENCRYPTION_KEY_FILE": "/dev/null"}, "holds no key"),
        ({"GRADLOOM_ENCRYPTION_KEY_FILE": "x", "GRADLOOM_ENCRYPTION_KEY": "y"}, "give one of them"),
    ):
        with pytest.raises(InvalidInput, match=why):
            keys_from_environment(told)


# ---- the command


def test_keygen_makes_a_key_that_only_its_owner_reads_and_overwrites_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "key"
    monkeypatch.chdir(tmp_path)
    assert main(["keygen", "key"]) == 0
    (key,) = keys_from_environment({"GRADLOOM_ENCRYPTION_KEY_FILE": str(file)}).keys
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    said = capsys.readouterr()
    assert key.id in said.out
    assert f"GRADLOOM_ENCRYPTION_KEY_FILE={file} " in said.out, "it holds in any folder"
    assert file.read_text().split()[0] not in said.out + said.err
    assert main(["keygen", str(file)]) == 1
    assert "there already and is not overwritten" in capsys.readouterr().err
    assert main(["keygen", str(file), "--rotate", "--json"]) == 0
    ring = keys_from_environment({"GRADLOOM_ENCRYPTION_KEY_FILE": str(file)})
    assert len(ring.keys) == 2
    assert ring.keys[1] == key
    assert '"keys": 2' in capsys.readouterr().out
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize("words", [["nowhere/key"], ["none", "--rotate"], ["text", "--rotate"]])
def test_keygen_says_what_it_can_not_do(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text").write_text("no key")
    assert main(["keygen", *words]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert Path("text").read_text() == "no key"


# ---- model files


def test_a_model_file_is_sealed_where_there_is_a_key_and_read_with_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = linear_model("linear", ("a",), "y", None, np.ones(1), np.zeros(()))
    path, plain = tmp_path / "m.safetensors", tmp_path / "plain.safetensors"
    model.save(plain)
    monkeypatch.setenv("GRADLOOM_ENCRYPTION_KEY", KEY.secret.hex())
    model.save(path)
    assert is_sealed(path.read_bytes())
    for file in (path, plain):  # with a key plain files are read too
        assert load_model(file).parameters_sha256 == model.parameters_sha256
    monkeypatch.delenv("GRADLOOM_ENCRYPTION_KEY")
    with pytest.raises(WrongKey, match=f"m.safetensors.*{KEY.id}.*no key is given here"):
        load_model(path)
    assert load_model(path, RING).parameters_sha256 == model.parameters_sha256
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelFileError, match="damaged, cut short or changed"):
        load_model(path, RING)
