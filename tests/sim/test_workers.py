"""Boot, environment, startup script, faults, state kept on disk."""

from __future__ import annotations

import asyncio
import os
import shlex
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.sim.environment import host_settings
from launcher.sim.processes import MARK
from launcher.sim.workers import Worker
from tests.sim.worker_fixtures import Machines, machines, new_key, wait_until, with_metadata


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Machines]:
    with machines(tmp_path / "machines") as made:
        yield made


def environment_of(room: Machines, worker: Worker, folder: Path) -> dict[str, str]:
    done = room.ssh(worker, folder, "env -0")
    assert done.returncode == 0, done.stderr
    return dict(entry.split("=", 1) for entry in done.stdout.decode().split("\0") if entry)


def test_guest_attributes_name_the_host_key_and_the_instance(room: Machines, tmp_path: Path) -> None:
    worker = room.boot()
    assert room.ssh(worker, tmp_path, "true").returncode == 0  # the known_hosts file is made from them
    assert worker.guest_attributes["hostname"]["hostname"].startswith("t1v-n-")
    other = room.boot(room.spec("other", workers=2, worker=1))
    assert other.guest_attributes != worker.guest_attributes


def test_environment_is_a_machines_not_the_clients(
    room: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid")
    monkeypatch.setenv("PYTHONPATH", "/client")
    monkeypatch.setenv("VIRTUAL_ENV", "/client/venv")
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/ssl/some.pem")
    monkeypatch.setenv("UV_INDEX_URL", "https://index.invalid/simple")
    worker = room.boot()
    found = environment_of(room, worker, tmp_path)
    metadata = f"{worker.spec.address}:{room.metadata_port}"
    expected = {
        "HOME": str(worker.folder / "home"),
        "USER": "ada",
        "LOGNAME": "ada",
        "SHELL": "/bin/sh",
        "PATH": f"{worker.folder}/bin:/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "TMPDIR": str(worker.folder / "tmp"),
        "GCE_METADATA_HOST": metadata,
        "GCE_METADATA_IP": metadata,
        "GCE_METADATA_ROOT": metadata,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "SSL_CERT_FILE": "/etc/ssl/some.pem",
        "UV_INDEX_URL": "https://index.invalid/simple",
        "STORAGE_EMULATOR_HOST": "http://127.0.0.1:9",
        MARK: str(worker.folder),
    }
    assert {name: found.get(name) for name in expected} == expected
    foreign = {"AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY", "PYTHONPATH", "VIRTUAL_ENV"}
    assert not foreign & set(found)
    assert not [name for name in found if name.startswith(("TPU_", "JAX_FORCE", "JAX_COORDINATOR"))]


def test_workers_of_a_slice_know_their_peers(room: Machines, tmp_path: Path) -> None:
    async def boot() -> list[Worker]:
        specs = [room.spec("slice", workers=2, worker=index) for index in range(2)]
        return await asyncio.gather(*(room.host.boot(spec, first=True) for spec in specs))

    workers = room.run(boot())
    found = [environment_of(room, worker, tmp_path) for worker in workers]
    assert [each["TPU_WORKER_ID"] for each in found] == ["0", "1"]
    assert {each["TPU_WORKER_HOSTNAMES"] for each in found} == {",".join(workers[0].spec.peers)}
    assert {each["JAX_FORCE_TPU_INIT"] for each in found} == {"1"}
    (port,) = {each["JAX_COORDINATOR_PORT"] for each in found}
    other = environment_of(room, room.boot(room.spec("second", workers=4, worker=3)), tmp_path)
    assert other["JAX_COORDINATOR_PORT"] != port


def test_python3_is_the_clients_base_interpreter(room: Machines, tmp_path: Path) -> None:
    worker = room.boot()
    code = "import sys; print(sys.prefix, sys.base_prefix, '%d.%d' % sys.version_info[:2])"
    minor = f"3.{sys.version_info.minor}"
    for name in ("python3", f"python{minor}"):
        done = room.ssh(worker, tmp_path, f"{name} -c {shlex.quote(code)}")
        assert done.stdout.decode().split() == [sys.base_prefix, sys.base_prefix, minor]
    done = room.ssh(worker, tmp_path, "python3 -m venv --without-pip v && v/bin/python -c 'import ssl, ctypes'")
    assert (done.returncode, done.stderr) == (0, b"")


def test_settings_of_the_host_come_from_variables_and_files(tmp_path: Path) -> None:
    (tmp_path / ".config/pip").mkdir(parents=True)
    (tmp_path / ".config/pip/pip.conf").write_text("[global]\n")
    home = {"HOME": str(tmp_path)}
    assert host_settings(home) == {
        "PIP_CONFIG_FILE": str(tmp_path / ".config/pip/pip.conf"),
        "UV_CACHE_DIR": str(tmp_path / ".cache/uv"),
    }
    given = {"PIP_CONFIG_FILE": "/etc/pip.conf", "UV_CACHE_DIR": "/cache", "UV_INDEX_MINE_PASSWORD": "p"}
    assert host_settings({**home, **given, "KAGGLE_KEY": "k", "UV_PUBLISH_TOKEN": "t"}) == given


def test_new_keys_count_at_once_and_removed_ones_no_more(room: Machines, tmp_path: Path) -> None:
    worker = room.boot()
    other = tmp_path / "other"
    public = new_key(other)
    assert room.ssh(worker, tmp_path, "true", user="bob", key=other).returncode == 255
    room.call(worker.update_metadata, {"ssh-keys": f"bob:{public}"})
    assert room.ssh(worker, tmp_path, "true", user="bob", key=other).returncode == 0
    assert room.ssh(worker, tmp_path, "true").returncode == 255


def test_startup_script_runs_at_each_boot(room: Machines, tmp_path: Path) -> None:
    script = (
        "#!/usr/bin/env python3\nimport os, urllib.request as u\n"
        "r = u.Request(f\"http://{os.environ['GCE_METADATA_HOST']}/computeMetadata/v1/instance/attributes/greet\","
        " headers={'Metadata-Flavor': 'Google'})\n"
        "open('boots', 'a').write(u.urlopen(r).read().decode() + '\\n')\nprint('said', flush=True)\n"
    )
    worker = room.boot(room.spec(startup_script=script, greet="hello"))
    boots, log = worker.folder / "home/boots", worker.folder / "startup.log"
    wait_until(lambda: log.exists() and log.read_text() == "said\n", "the first boot")
    room.run(worker.stop())
    again = room.boot(with_metadata(worker.spec, greet="again"), first=False)
    assert again.folder == worker.folder
    wait_until(lambda: log.read_text() == "said\nsaid\n", "the second boot")
    assert boots.read_text() == "hello\nagain\n"


def test_startup_script_without_an_interpreter_line_is_run_by_sh(room: Machines) -> None:
    worker = room.boot(room.spec(startup_script="echo $USER $0 >&2; exit 3\n"))
    log = worker.folder / "startup.log"
    wait_until(lambda: log.exists() and log.read_text(), "the script's output")
    assert log.read_text() == f"root {worker.folder}/startup-script\n"


def test_boot_does_not_wait_for_the_startup_script(room: Machines, tmp_path: Path) -> None:
    worker = room.boot(room.spec(startup_script="#!/bin/sh\nwhile [ ! -e go ]; do sleep 0.01; done; echo went\n"))
    assert room.ssh(worker, tmp_path, "touch go").returncode == 0
    wait_until(lambda: (worker.folder / "startup.log").read_text() == "went\n", "the script's end")


def test_a_restarted_simulator_keeps_home_host_key_and_guest_attributes(room: Machines, tmp_path: Path) -> None:
    worker = room.boot()
    room.ssh(worker, tmp_path, "echo kept > file")
    before = dict(worker.guest_attributes)
    room.restart()
    again = room.boot(worker.spec, first=False)
    assert again.guest_attributes == before
    assert room.ssh(again, tmp_path, "cat file").stdout == b"kept\n"


def test_first_boot_has_an_empty_disk_and_a_new_host_key(room: Machines, tmp_path: Path) -> None:
    worker = room.boot()
    room.ssh(worker, tmp_path, "echo old > file")
    before = dict(worker.guest_attributes)
    again = room.boot(worker.spec, first=True)
    assert again.guest_attributes["hostkeys"] != before["hostkeys"]
    assert room.ssh(again, tmp_path, "ls -A").stdout == b""


def test_same_node_id_in_two_zones_are_two_machines(room: Machines) -> None:
    spec = room.spec()
    elsewhere = room.spec("node-1", workers=2, worker=1)
    object.__setattr__(elsewhere, "zone", "us-east5-b")
    object.__setattr__(elsewhere, "worker", 0)
    assert room.boot(spec).folder != room.boot(elsewhere).folder


def test_changed_host_key_is_refused_by_who_trusts_the_guest_attributes(room: Machines, tmp_path: Path) -> None:
    worker = room.boot()
    assert room.ssh(worker, tmp_path, "true").returncode == 0
    room.run(worker.change_host_key())
    for _ in range(2):
        done = room.ssh(worker, tmp_path, "true")
        assert done.returncode == 255
        assert b"Host key verification failed" in done.stderr
        room.restart()
        worker = room.boot(worker.spec, first=False)


def test_delete_removes_the_disk_even_with_read_only_folders(room: Machines, tmp_path: Path) -> None:
    worker = room.boot()
    room.ssh(worker, tmp_path, "mkdir -p a/b; touch a/b/c; chmod 500 a/b a")
    room.run(room.host.delete(worker.spec))
    assert list(worker.folder.parent.iterdir()) == []
    room.run(room.host.delete(worker.spec))  # nothing is left to do


def test_delete_after_preemption(room: Machines) -> None:
    worker = room.boot()
    room.run(worker.preempt())
    room.run(room.host.delete(worker.spec))
    assert not worker.folder.exists()


def test_state_is_for_its_owner_only(room: Machines) -> None:
    worker = room.boot()
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode) & 0o077
        for path in worker.folder.rglob("*")
        if path.parent.name != "bin" and path.name != "bin"
    }
    assert set(modes.values()) == {0}


def test_a_taken_port_is_named_and_nothing_is_left_running(room: Machines) -> None:
    spec = room.spec()
    with socket.socket() as squatter:
        squatter.bind((spec.address, room.metadata_port))
        squatter.listen()
        with pytest.raises(OSError, match=rf"worker 0 of .*{spec.address}:{room.metadata_port} \(metadata\)"):
            room.boot(spec)
    worker = room.boot(spec)
    assert worker.spec == spec


def test_stopped_worker_frees_its_ports_and_files(room: Machines) -> None:
    room.run(room.boot().stop())
    before = len(os.listdir("/proc/self/fd"))
    worker = room.boot()
    room.run(worker.stop())
    room.run(worker.stop())
    assert len(os.listdir("/proc/self/fd")) <= before
    for port in (room.ssh_port, room.metadata_port):
        with pytest.raises(ConnectionRefusedError), socket.create_connection((worker.spec.address, port)):
            pass
