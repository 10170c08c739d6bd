from __future__ import annotations

import concurrent.futures
import os
import subprocess
import sys
from pathlib import Path

import paramiko
import pytest

from launcher import keys
from launcher.errors import ConfigError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAUNCHER_CONFIG_DIR", str(tmp_path / "config"))
    return tmp_path / "config"


def test_made_once_per_profile_and_private() -> None:
    pair = keys.key_pair("work")
    assert keys.key_pair("work") == pair
    assert keys.key_pair("home").public != pair.public
    assert pair.file.stat().st_mode & 0o777 == 0o600
    assert pair.file.read_text().startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    private = paramiko.Ed25519Key.from_private_key_file(str(pair.file))
    assert pair.public == f"ssh-ed25519 {private.get_base64()} launcher"


def test_processes_that_start_at_the_same_moment_share_one(folder: Path) -> None:
    script = "from launcher import keys; print(keys.key_pair('work').public)"

    def run(_: int) -> str:
        return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(run, range(4)))) == 1
    assert os.listdir(folder / "keys" / "work") == ["id_ed25519"]


def test_a_file_that_is_no_key(folder: Path) -> None:
    path = keys.key_pair("work").file
    path.write_text("hello")
    with pytest.raises(ConfigError, match="id_ed25519 is not a readable OpenSSH private key"):
        keys.key_pair("work")


def test_a_key_that_others_can_read() -> None:
    keys.key_pair("work").file.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod"):
        keys.key_pair("work")


def test_the_nodes_metadata() -> None:
    pair = keys.key_pair("work")
    assert keys.ssh_keys_metadata("eva", pair) == {
        "ssh-keys": f"l-eva:{pair.public}",
        "block-project-ssh-keys": "TRUE",
    }


@pytest.mark.parametrize("owner", ["root", "eva", "a" * 31, "0x", "a" * 29 + "-b"])
def test_user_names_are_fit_for_linux_and_nobody_elses(owner: str) -> None:
    import re

    name = keys.user_name(owner)
    assert re.fullmatch(r"l-[a-z0-9-]{0,29}[a-z0-9]", name)
