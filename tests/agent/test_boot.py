from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.records.boot import BOOT
from tests.agent.worker import agent_archive


def boot(home: Path, sha256: str, size: int, stdin: bytes, *mode: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-I", "-c", BOOT, sha256, str(size), *mode]
    return subprocess.run(command, input=stdin, capture_output=True, env={"HOME": str(home)}, timeout=60, check=False)


@pytest.fixture
def archive(tmp_path: Path) -> bytes:
    return agent_archive(tmp_path / "agent.pyz").read_bytes()


def test_the_archive_is_asked_for_once_and_the_rest_of_the_input_is_the_agents(tmp_path: Path, archive: bytes) -> None:
    sha256 = hashlib.sha256(archive).hexdigest()
    spec = b"\0\0\0\0\0\0\0\2{}"
    first = boot(tmp_path, sha256, len(archive), archive + spec, "session")
    assert first.stdout.startswith(b"want\n") and b"specification is damaged" in first.stdout
    second = boot(tmp_path, sha256, len(archive), spec, "session")
    assert second.stdout.startswith(b"have\n") and b"specification is damaged" in second.stdout
    stored = tmp_path / ".launcher" / "agent" / f"{sha256}.pyz"
    assert stored.read_bytes() == archive
    assert stored.stat().st_mode & 0o077 == 0 and stored.parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("damage", ["cut", "changed", "on the worker"])
def test_a_damaged_archive_is_never_run(tmp_path: Path, archive: bytes, damage: str) -> None:
    sha256 = hashlib.sha256(archive).hexdigest()
    folder = tmp_path / ".launcher" / "agent"
    if damage == "on the worker":
        folder.mkdir(parents=True)
        (folder / f"{sha256}.pyz").write_bytes(b"not it")
        done = boot(tmp_path, sha256, len(archive), archive, "session")
        assert done.stdout.startswith(b"want\n") and (folder / f"{sha256}.pyz").read_bytes() == archive
        return
    sent = archive[:-1] if damage == "cut" else archive[:-1] + bytes([archive[-1] ^ 1])
    done = boot(tmp_path, sha256, len(archive), sent, "session")
    assert done.returncode != 0 and done.stdout == b"want\n" and b"archive" in done.stderr
    assert not list(folder.glob("*"))
