from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests

from launcher.cloud import credentials
from launcher.errors import ConfigError

USER = {
    "type": "authorized_user",
    "client_id": "x",
    "client_secret": "y",
    "refresh_token": "z",
    "account": "eva@example.com",
}


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    credentials.load.cache_clear()
    yield
    credentials.load.cache_clear()


@pytest.fixture
def adc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "adc.json"
    path.write_text(json.dumps(USER))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    return path


def test_none_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    with pytest.raises(ConfigError, match=r"missing\.json.*gcloud auth application-default login"):
        credentials.load("default")


@pytest.mark.usefixtures("adc")
def test_who_it_is_where_the_credentials_say_so() -> None:
    assert credentials.member(credentials.load("default")) == "user:eva@example.com"
    assert credentials.account("default") == "eva@example.com"


def test_who_it_is_where_only_google_can_tell(adc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adc.write_text(json.dumps(USER | {"account": ""}))

    def google(self: object, method: str, url: str, **options: object) -> requests.Response:
        answer = requests.Response()
        answer.status_code = 200
        answer._content = b'{"access_token": "t"}' if "token" in url else b'{"email": "eva@example.com"}'
        return answer

    monkeypatch.setattr(requests.Session, "request", google)
    assert credentials.account("default") == "eva@example.com"


def test_who_it_is_without_a_network(adc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adc.write_text(json.dumps(USER | {"account": ""}))

    def offline(*_: object, **__: object) -> None:
        raise requests.ConnectionError("no network")

    monkeypatch.setattr(requests.Session, "request", offline)
    assert credentials.account("default") == ""


def test_a_service_account() -> None:
    robot = SimpleNamespace(service_account_email="robot@p.iam.gserviceaccount.com")
    assert credentials.member(robot) == "serviceAccount:robot@p.iam.gserviceaccount.com"
    assert credentials.member(SimpleNamespace(service_account_email="default")) == ""


def test_anonymous_is_nobody() -> None:
    assert credentials.account("anonymous") == ""


def test_nothing_is_printed_beside_it(adc: Path) -> None:
    script = "from launcher.cloud.credentials import load; load('default')"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout + ended.stderr == ""
