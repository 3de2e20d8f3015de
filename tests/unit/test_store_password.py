"""The database's password in a file of its own."""

from pathlib import Path

import pytest
from sqlalchemy import make_url

from gradloom.errors import InvalidInput
from gradloom.settings import STORE_PASSWORD_VARIABLE, CoordinatorSettings, with_store_password

URL = "postgresql://gradloom@db/gradloom"


def told(path: object) -> dict[str, str]:
    return {STORE_PASSWORD_VARIABLE: str(path)}


@pytest.mark.parametrize("password", ["plain", "p@ss:w/rd?#%", "übergröße"])
def test_it_gets_into_the_url_whatever_it_is(tmp_path: Path, password: str) -> None:
    file = tmp_path / "password"
    file.write_text(f"{password}\n", encoding="utf-8")
    url = make_url(with_store_password(URL, told(file)))
    assert (url.username, url.password, url.host, url.database) == ("gradloom", password, "db", "gradloom")


def test_without_a_file_the_url_stays_as_it_is() -> None:
    assert with_store_password("sqlite:////x", {}) == "sqlite:////x"


@pytest.mark.parametrize("url", ["", "postgresql://db/gradloom", "postgresql://me:secret@db/gradloom"])
def test_a_url_that_has_no_place_for_it_is_refused(tmp_path: Path, url: str) -> None:
    file = tmp_path / "password"
    file.write_text("x")
    with pytest.raises(InvalidInput, match="must name a user and no password") as refused:
        with_store_password(url, told(file))
    assert "secret" not in str(refused.value)


def test_a_file_that_is_not_there_or_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="No such file"):
        with_store_password(URL, told(tmp_path / "none"))
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(InvalidInput, match="is empty"):
        with_store_password(URL, told(tmp_path / "empty"))


def test_settings_do_not_show_it() -> None:
    assert "secret" not in repr(CoordinatorSettings(store_url="postgresql://me:secret@db/x"))
