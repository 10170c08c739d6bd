"""The SSH server of a simulated worker, seen by OpenSSH's client and by paramiko."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import paramiko
import pytest

from launcher.sim.ssh import authorized, new_host_key, public_half
from launcher.sim.workers import Worker
from tests.sim.worker_fixtures import (
    TIMEOUT_S,
    USER,
    Machines,
    alive,
    machines,
    new_key,
    read_pid,
    wait_until,
)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    with machines(tmp_path_factory.mktemp("machines")) as made:
        yield made


@pytest.fixture(scope="module")
def worker(room: Machines) -> Worker:
    return room.boot()


def home_of(worker: Worker) -> Path:
    return worker.folder / "home"


def host_entry(worker: Worker, room: Machines) -> tuple[str, paramiko.PKey]:
    key = paramiko.PKey.from_type_string(
        "ssh-ed25519",
        asyncssh.import_public_key(f"ssh-ed25519 {worker.guest_attributes['hostkeys']['ssh-ed25519']}").public_data,
    )
    return f"[{worker.spec.address}]:{room.ssh_port}", key


def paramiko_client(room: Machines, worker: Worker) -> paramiko.SSHClient:
    client = paramiko.SSHClient()
    name, key = host_entry(worker, room)
    client.get_host_keys().add(name, "ssh-ed25519", key)
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    client.connect(
        worker.spec.address,
        room.ssh_port,
        USER,
        key_filename=str(room.key),
        allow_agent=False,
        look_for_keys=False,
        timeout=TIMEOUT_S,
    )
    return client


async def asyncssh_connect(room: Machines, worker: Worker) -> asyncssh.SSHClientConnection:
    _, host_key = host_entry(worker, room)
    known = f"[{worker.spec.address}]:{room.ssh_port} ssh-ed25519 {host_key.get_base64()}\n"
    return await asyncssh.connect(
        worker.spec.address,
        room.ssh_port,
        username=USER,
        client_keys=[str(room.key)],
        known_hosts=asyncssh.import_known_hosts(known),
        config=None,
        agent_path=None,
    )


@pytest.mark.parametrize("code", [0, 1, 3, 255])
def test_exit_code_and_both_streams(room: Machines, worker: Worker, tmp_path: Path, code: int) -> None:
    done = room.ssh(worker, tmp_path, f"echo out; echo err >&2; exit {code}")
    assert (done.returncode, done.stdout, done.stderr) == (code, b"out\n", b"err\n")


def test_commands_run_by_sh_in_the_home_folder(room: Machines, worker: Worker, tmp_path: Path) -> None:
    done = room.ssh(worker, tmp_path, "pwd; echo $HOME; umask; cat /proc/$$/comm; cd /; pwd")
    home = str(home_of(worker))
    assert done.stdout.decode().split() == [home, home, "0022", "sh", "/"]


def test_death_by_signal_is_told(room: Machines, worker: Worker) -> None:
    async def run() -> tuple[str, int | None]:
        async with await asyncssh_connect(room, worker) as connection:
            done = await connection.run("kill -SEGV $$")
            assert done.exit_signal is not None
            return done.exit_signal[0], done.exit_status

    assert asyncio.run(run()) == ("SEGV", -1)


def test_ssh_reports_255_for_death_by_signal(room: Machines, worker: Worker, tmp_path: Path) -> None:
    assert room.ssh(worker, tmp_path, "kill -9 $$").returncode == 255


def test_client_signals_reach_the_whole_command(room: Machines, worker: Worker) -> None:
    """Also when the command reads nothing of a stdin that is full."""

    async def run() -> asyncssh.SSHCompletedProcess:
        async with await asyncssh_connect(room, worker) as connection:
            command = "trap 'echo got it; exit 7' TERM; echo ready; while :; do sleep 0.01; done"
            process = await connection.create_process(command, encoding=None)
            assert await process.stdout.readline() == b"ready\n"
            process.stdin.write(bytes(1 << 18))
            process.send_signal("TERM")
            return await process.wait(timeout=TIMEOUT_S)

    done = asyncio.run(run())
    assert (done.exit_status, done.stdout) == (7, b"got it\n")


def test_stdin_and_stdout_are_binary_clean(room: Machines, worker: Worker, tmp_path: Path) -> None:
    data = bytes(range(256)) * 64 + b"\r\n\x04\x03~.\n" + os.urandom(100_000)
    assert room.ssh(worker, tmp_path, "cat", input=data).stdout == data


def test_end_of_stdin_is_passed_on(room: Machines, worker: Worker, tmp_path: Path) -> None:
    assert room.ssh(worker, tmp_path, "wc -c", input=b"").stdout.strip() == b"0"


def test_unread_stdin_holds_nothing_up(room: Machines, worker: Worker, tmp_path: Path) -> None:
    done = room.ssh(worker, tmp_path, "exec 0<&-; echo done", input=bytes(30_000_000))
    assert (done.returncode, done.stdout) == (0, b"done\n")


def test_50_mb_each_way(room: Machines, worker: Worker, tmp_path: Path) -> None:
    data = os.urandom(1 << 20) * 50
    done = room.ssh(worker, tmp_path, "tee copy | sha256sum; cat copy; rm copy", input=data)
    digest, _, rest = done.stdout.partition(b"\n")
    assert digest.split()[0].decode() == hashlib.sha256(data).hexdigest()
    assert rest == data


def test_what_one_side_does_not_take_waits_at_the_other(room: Machines, worker: Worker) -> None:
    """Neither output that no client reads nor input that no command reads piles up in the simulator."""
    size = 60_000_000

    async def run() -> None:
        async with (
            await asyncssh_connect(room, worker) as connection,
            await asyncssh_connect(room, worker) as other,
        ):
            printing = await connection.create_process(f"yes | head -c {size}; touch printed", encoding=None)
            printing.stdout.channel.pause_reading()
            reading = await connection.create_process("sleep 1000 & wait; exec cat", encoding=None)
            reading.stdin.write(bytes(size))
            # Meanwhile as much gets through to somebody who does read.
            done = await other.run(f"yes | head -c {size}", encoding=None)
            assert isinstance(done.stdout, bytes) and len(done.stdout) == size
            assert not (home_of(worker) / "printed").exists()
            assert reading.stdin.channel.get_write_buffer_size() > size * 0.9
            printing.stdout.channel.resume_reading()
            total = 0
            while part := await printing.stdout.read(1 << 20):
                total += len(part)
            assert total == size
            assert (await printing.wait()).exit_status == 0
            reading.send_signal("KILL")
            await reading.wait_closed()

    asyncio.run(run())
    assert (home_of(worker) / "printed").exists()


@pytest.mark.parametrize("user", ["root", "eve", "ad", USER.upper()])
def test_wrong_user_is_refused(room: Machines, worker: Worker, tmp_path: Path, user: str) -> None:
    done = room.ssh(worker, tmp_path, "touch got-in", user=user)
    assert done.returncode == 255
    assert b"Permission denied (publickey)" in done.stderr
    assert not (home_of(worker) / "got-in").exists()


def test_wrong_key_is_refused(room: Machines, worker: Worker, tmp_path: Path) -> None:
    other = tmp_path / "other"
    new_key(other)
    done = room.ssh(worker, tmp_path, "true", key=other)
    assert done.returncode == 255
    assert b"Permission denied (publickey)" in done.stderr


def test_passwords_are_not_even_offered(room: Machines, worker: Worker) -> None:
    with paramiko.Transport((worker.spec.address, room.ssh_port)) as transport:
        transport.start_client(timeout=TIMEOUT_S)
        with pytest.raises(paramiko.BadAuthenticationType) as refused:
            transport.auth_password(USER, "secret")
        assert refused.value.allowed_types == ["publickey"]


def test_other_host_key_is_refused_by_ssh(room: Machines, worker: Worker, tmp_path: Path) -> None:
    imposter = room.boot(room.spec("imposter", workers=2, worker=1))
    known = room.known_hosts(worker, tmp_path)
    known.write_text(known.read_text().replace(worker.spec.address, imposter.spec.address))
    argv = ["ssh", *room.options(imposter, tmp_path), f"{USER}@{imposter.spec.address}", "true"]
    known.write_text(
        f"[{imposter.spec.address}]:{room.ssh_port} ssh-ed25519 {worker.guest_attributes['hostkeys']['ssh-ed25519']}\n"
    )
    done = subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, timeout=TIMEOUT_S, check=False)
    room.run(room.host.delete(imposter.spec))
    assert done.returncode == 255
    assert b"Host key verification failed" in done.stderr


def test_environment_of_the_client_is_ignored(room: Machines, worker: Worker, tmp_path: Path) -> None:
    done = room.ssh(worker, tmp_path, "env", options=("-o", "SetEnv=PATH=/evil LC_TEST=1"))
    lines = done.stdout.decode().splitlines()
    assert not any(line.startswith(("LC_TEST=", "PATH=/evil")) for line in lines)
    assert f"USER={USER}" in lines


def test_interactive_shell_has_a_terminal(room: Machines, worker: Worker, tmp_path: Path) -> None:
    done = room.ssh(
        worker,
        tmp_path,
        options=("-tt",),
        input=b"tty; stty size; echo TERM=$TERM; exit 5\n",
        env={**os.environ, "TERM": "xterm-256color"},
    )
    assert done.returncode == 5
    assert b"/dev/" in done.stdout
    assert b"TERM=xterm-256color" in done.stdout


def test_shell_without_a_terminal_reads_commands(room: Machines, worker: Worker, tmp_path: Path) -> None:
    done = room.ssh(worker, tmp_path, options=("-T",), input=b"echo one\nexit 6\n")
    assert (done.returncode, done.stdout) == (6, b"one\n")


def test_terminal_size_is_the_clients(room: Machines, worker: Worker) -> None:
    async def run() -> list[bytes]:
        async with await asyncssh_connect(room, worker) as connection:
            process = await connection.create_process(
                "stty size; read line; stty size", term_type="vt100", term_size=(91, 17), encoding=None
            )
            first = await process.stdout.readline()
            process.change_terminal_size(120, 40)
            process.stdin.write(b"\n")
            rest = await process.stdout.read()
            return [first, *rest.splitlines()]

    lines = [line.strip() for line in asyncio.run(run())]
    assert lines[0] == b"17 91"
    assert lines[-1] == b"40 120"


def test_processes_of_a_terminal_hang_up_when_the_connection_drops(room: Machines, worker: Worker) -> None:
    pid_file = home_of(worker) / "terminal.pid"

    async def run() -> int:
        connection = await asyncssh_connect(room, worker)
        await connection.create_process(f"echo $$ > {pid_file.name}; exec sleep 1000", term_type="vt100")
        pid = await asyncio.to_thread(read_pid, pid_file)
        connection.abort()
        return pid

    pid = asyncio.run(run())
    wait_until(lambda: not alive(pid), "SIGHUP from the terminal")


def test_other_processes_survive_a_dropped_connection(room: Machines, worker: Worker) -> None:
    home = home_of(worker)

    async def run() -> int:
        connection = await asyncssh_connect(room, worker)
        # It notices only the end of its stdin.
        await connection.create_process("echo $$ > plain.pid; cat; echo end > plain.end; exec sleep 1000")
        pid = await asyncio.to_thread(read_pid, home / "plain.pid")
        await room_drop(room, worker)
        await connection.wait_closed()
        return pid

    pid = asyncio.run(run())
    wait_until((home / "plain.end").exists, "the end of stdin")
    assert alive(pid)
    os.kill(pid, signal.SIGKILL)


async def room_drop(room: Machines, worker: Worker) -> None:
    await asyncio.to_thread(room.run, worker.drop_connections())


def test_background_process_that_lets_go_of_the_streams_does_not_hold_the_session(
    room: Machines, worker: Worker, tmp_path: Path
) -> None:
    done = room.ssh(worker, tmp_path, "sleep 1000 </dev/null >/dev/null 2>&1 & echo $!")
    pid = int(done.stdout)
    assert alive(pid)
    os.kill(pid, signal.SIGKILL)


def test_output_of_a_background_process_belongs_to_the_session(room: Machines, worker: Worker, tmp_path: Path) -> None:
    done = room.ssh(worker, tmp_path, "(while [ ! -e go ]; do sleep 0.01; done; echo late; rm go) & touch go; exit 4")
    assert (done.returncode, done.stdout) == (4, b"late\n")


def test_forwarding_is_refused(room: Machines, worker: Worker, tmp_path: Path) -> None:
    target = f"{worker.spec.address}:{room.metadata_port}"
    done = room.ssh(worker, tmp_path, options=("-W", target, "-o", "ExitOnForwardFailure=yes"))
    assert done.returncode == 255
    assert b"forwarding failed" in done.stderr


def test_many_sessions_at_once_on_one_connection(room: Machines, worker: Worker) -> None:
    async def run() -> list[str]:
        async with await asyncssh_connect(room, worker) as connection:
            done = await asyncio.gather(*(connection.run(f"cat; echo {n}", input=f"{n}-") for n in range(30)))
            return [str(one.stdout).strip() for one in done]

    assert asyncio.run(run()) == [f"{n}-{n}" for n in range(30)]


def test_paramiko_runs_commands(room: Machines, worker: Worker) -> None:
    client = paramiko_client(room, worker)
    try:
        stdin, stdout, stderr = client.exec_command("cat; echo oops >&2; exit 9", timeout=TIMEOUT_S)
        stdin.write(b"\x00\xff data")
        stdin.channel.shutdown_write()
        assert stdout.read() == b"\x00\xff data"
        assert stderr.read() == b"oops\n"
        assert stdout.channel.recv_exit_status() == 9
    finally:
        client.close()


def test_sftp_round_trip_by_openssh(room: Machines, worker: Worker, tmp_path: Path) -> None:
    data = os.urandom(300_000)
    (tmp_path / "up").write_bytes(data)
    batch = "pwd\nmkdir d\nput up d/there\nchmod 750 d/there\nget d/there back\nrename d/there d/moved\nls -l d\n"
    argv = ["sftp", *room.options(worker, tmp_path), "-b", "-", f"{USER}@{worker.spec.address}"]
    done = subprocess.run(argv, input=batch.encode(), capture_output=True, cwd=tmp_path, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr
    assert f"Remote working directory: {home_of(worker)}".encode() in done.stdout
    assert (tmp_path / "back").read_bytes() == data
    assert (home_of(worker) / "d/moved").stat().st_mode & 0o777 == 0o750


def test_sftp_takes_absolute_paths_as_the_machines(room: Machines, worker: Worker, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("text")
    client = paramiko_client(room, worker)
    try:
        with client.open_sftp() as sftp:
            assert sftp.normalize(".") == str(home_of(worker))
            with sftp.open(str(tmp_path / "outside")) as file:
                assert file.read() == b"text"
            sftp.symlink("target", "link")
            assert sftp.readlink("link") == "target"
    finally:
        client.close()
    assert os.readlink(home_of(worker) / "link") == "target"


@pytest.mark.parametrize("protocol", ["-s", "-O"], ids=["sftp", "legacy"])
def test_scp_both_ways(room: Machines, worker: Worker, tmp_path: Path, protocol: str) -> None:
    source = tmp_path / "tree"
    (source / "deep").mkdir(parents=True)
    (source / "deep/file").write_bytes(os.urandom(100_000))
    remote = f"{USER}@{worker.spec.address}"
    name = f"copy{protocol}"
    for argv in ([str(source), f"{remote}:{name}"], [f"{remote}:{name}", str(tmp_path / "back")]):
        done = subprocess.run(
            ["scp", protocol, "-r", *room.options(worker, tmp_path), *argv],
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "back/deep/file").read_bytes() == (source / "deep/file").read_bytes()


def test_a_foreign_peer_gets_no_connection(room: Machines, worker: Worker, tmp_path: Path) -> None:
    seen: list[tuple[tuple[str, int], tuple[str, int]]] = []

    def refuse(peer: tuple[str, int], local: tuple[str, int]) -> bool:
        seen.append((peer, local))
        return False

    before = room.allowed
    room.allowed = refuse
    try:
        assert room.ssh(worker, tmp_path, "true").returncode == 255
    finally:
        room.allowed = before
    assert seen[0][0][0].startswith("127.")
    assert seen[0][1] == (worker.spec.address, room.ssh_port)


def test_a_client_that_comes_and_goes_leaves_nothing_open(room: Machines, worker: Worker, tmp_path: Path) -> None:
    room.ssh(worker, tmp_path, "true")
    threads = threading.active_count()
    before = room.call(lambda: len(os.listdir("/proc/self/fd")))
    for _ in range(3):
        room.ssh(worker, tmp_path, "true")
    wait_until(lambda: room.call(lambda: len(os.listdir("/proc/self/fd"))) <= before, "files of ended sessions")
    assert threading.active_count() <= threads + 1  # the loop's executor may have grown by one


def test_authorized_reads_lines_of_ssh_keys() -> None:
    key = public_half(new_host_key())
    data = asyncssh.import_public_key(f"ssh-ed25519 {key}").public_data
    lines = f"\n# comment\nbob:ssh-ed25519 !!! broken\n  ada:ssh-ed25519 {key} ada@home\nbroken\n"
    assert authorized({"ssh-keys": lines}, "ada", data)
    assert not authorized({"ssh-keys": lines}, "bob", data)
    assert not authorized({"ssh-keys": f"ssh-ed25519 {key}"}, "", data)
    assert not authorized({}, "ada", data)
