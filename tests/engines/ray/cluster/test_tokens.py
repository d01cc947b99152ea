"""A token is made once, read by its owner alone, and shown to nobody."""

import stat
from pathlib import Path

import pytest

from akkordeon.engines.ray.cluster import Token, new_token, read_token, token_path
from akkordeon.errors import TokenUnusable


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("AKKORDEON_TOKEN_PATH", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "akkordeon"


def test_only_its_owner_can_read_a_new_token(config: Path) -> None:
    path = new_token()
    assert path == config / "token" == token_path()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(config.stat().st_mode) == 0o700
    assert list(config.iterdir()) == [path]
    assert len(bytes.fromhex(path.read_text())) == 32
    assert read_token().bearer == f"Bearer {path.read_text().strip()}"


def test_two_tokens_differ(tmp_path: Path) -> None:
    assert new_token(tmp_path / "a").read_text() != new_token(tmp_path / "b").read_text()


def test_a_variable_sets_the_path_of_the_token(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AKKORDEON_TOKEN_PATH", str(tmp_path / "elsewhere"))
    assert new_token() == tmp_path / "elsewhere"
    assert not config.exists()


def test_by_default_the_token_lies_in_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AKKORDEON_TOKEN_PATH", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    assert token_path() == Path("/home/me/.config/akkordeon/token")


def test_a_token_is_replaced_only_if_that_is_asked_for(config: Path) -> None:
    first = new_token().read_text()
    with pytest.raises(TokenUnusable, match="already"):
        new_token()
    assert (config / "token").read_text() == first
    new_token(overwrite=True)
    assert (config / "token").read_text() != first
    assert stat.S_IMODE((config / "token").stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620])
def test_a_token_that_others_can_read_is_refused(config: Path, mode: int) -> None:
    path = new_token()
    path.chmod(mode)
    with pytest.raises(TokenUnusable, match=rf"others can read .*{mode:04o}: run chmod 600 {path}"):
        read_token()


@pytest.mark.parametrize("content", [b"", b"\n", b"short", b"x" * 600, b"two words of some length", b"\xff" * 40])
def test_an_invalid_token_is_refused_and_not_shown(config: Path, content: bytes) -> None:
    path = new_token()
    path.write_bytes(content)
    with pytest.raises(TokenUnusable, match="characters that are not a token") as caught:
        read_token()
    assert "words" not in str(caught.value)
    assert "short" not in str(caught.value)


def test_a_missing_token_is_reported_with_its_path(config: Path) -> None:
    with pytest.raises(TokenUnusable, match=rf"{config / 'token'} \(No such file.*AKKORDEON_TOKEN_PATH"):
        read_token()


def test_a_token_is_not_printed() -> None:
    token = Token("0123456789abcdef")
    assert "0123" not in f"{token!r} {token} {[token]}"
