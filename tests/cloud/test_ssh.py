from __future__ import annotations

import dataclasses
import hashlib
import os
import shlex
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncssh
import pytest

from launcher.cloud import ssh_channel, ssh_proxy
from launcher.cloud.seams import Channel, Target
from launcher.cloud.ssh import SshConnector, fingerprint, iap_proxy_command
from launcher.cloud.ssh_channel import SshTransport
from launcher.errors import ConnectError
from tests.cloud.sshd import SilentRelay, Sshd, hanging, listening, write_key

# Carries its standard input and output to and from a TCP port, as the tunnel of a cloud's command does.
TUNNEL = """
import os, socket, sys, threading
s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
def up():
    while d := os.read(0, 65536):
        s.sendall(d)
    s.shutdown(socket.SHUT_WR)
threading.Thread(target=up, daemon=True).start()
while d := s.recv(65536):
    os.write(1, d)
"""


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    return write_key(tmp_path_factory.mktemp("key"))


@pytest.fixture(scope="module")
def sshd(key: tuple[Path, str]) -> Iterator[Sshd]:
    server = Sshd(key[1])
    yield server
    server.close()


@pytest.fixture
def target(sshd: Sshd, key: tuple[Path, str]) -> Target:
    return Target("127.0.0.1", sshd.port, "l-eva", str(key[0]), sshd.host_keys, label="worker 0 of sim-1", timeout_s=10)


@pytest.fixture
def connect() -> Iterator[Callable[[Target], SshTransport]]:
    opened: list[SshTransport] = []

    def connect(target: Target) -> SshTransport:
        opened.append(SshConnector().connect(target))
        return opened[-1]

    yield connect
    for transport in opened:
        transport.close()


@pytest.fixture
def transport(connect: Callable[[Target], SshTransport], target: Target) -> SshTransport:
    return connect(target)


def read_all(channel: Channel) -> bytes:
    parts = []
    while data := channel.read(timeout_s=20):
        parts.append(data)
    return b"".join(parts)


def tunnel(*arguments: str) -> str:
    return shlex.join([sys.executable, "-c", TUNNEL.replace("%", "%%"), *arguments])


class TestCommands:
    def test_any_bytes_both_ways(self, transport: SshTransport) -> None:
        data = os.urandom(3_000_000)
        channel = transport.exec("cat")
        writer = threading.Thread(target=lambda: (channel.write(data), channel.close_stdin()))
        writer.start()
        assert read_all(channel) == data
        writer.join()
        assert channel.exit_status(20) == 0
        channel.close()

    def test_standard_error_apart_and_exit_status(self, transport: SshTransport) -> None:
        channel = transport.exec("echo out; echo bad >&2; exit 3")
        assert read_all(channel) == b"out\n"
        assert channel.exit_status(20) == 3
        assert channel.stderr() == b"bad\n"

    def test_a_signal_is_minus_one(self, transport: SshTransport) -> None:
        channel = transport.exec("kill -KILL $$")
        assert read_all(channel) == b""
        assert channel.exit_status(20) == -1
        assert transport.alive()

    def test_a_flood_on_standard_error_blocks_nothing(self, transport: SshTransport) -> None:
        flood = "import sys; sys.stderr.buffer.write(b'x' * 20_000_000 + b'END'); sys.stderr.flush(); print('done')"
        channel = transport.exec(shlex.join([sys.executable, "-c", flood]))
        assert read_all(channel) == b"done\n"
        assert channel.exit_status(20) == 0
        assert len(channel.stderr()) <= 65536 and channel.stderr().endswith(b"xEND")

    def test_what_is_not_read_waits_on_the_other_side(self, transport: SshTransport) -> None:
        script = "import sys\nfor i in range(400): sys.stdout.buffer.write(bytes([i % 256]) * 100_000)"
        channel = transport.exec(shlex.join([sys.executable, "-c", script]))
        assert channel.read(10, timeout_s=20) == b"\0" * 10
        digest = hashlib.sha256(b"\0" * 10)
        while data := channel.read(timeout_s=20):
            digest.update(data)
        expected = hashlib.sha256(b"".join(bytes([i % 256]) * 100_000 for i in range(400)))
        assert digest.digest() == expected.digest()

    def test_several_at_once_on_one_connection(self, transport: SshTransport) -> None:
        channels = [transport.exec(f"read x; echo {k} $x") for k in range(5)]
        for channel in reversed(channels):
            channel.write(b"go\n")
        assert [read_all(channel) for channel in channels] == [b"%d go\n" % k for k in range(5)]

    def test_reading_has_a_timeout(self, transport: SshTransport) -> None:
        channel = transport.exec("cat")
        with pytest.raises(TimeoutError, match="worker 0 of sim-1"):
            channel.read(timeout_s=0.01)
        with pytest.raises(TimeoutError):
            channel.exit_status(0.01)
        channel.write(b"still there")
        assert channel.read(timeout_s=20) == b"still there"

    def test_a_command_that_does_not_read_its_input(self, transport: SshTransport) -> None:
        channel = transport.exec("echo no thanks >&2; exit 1")
        assert channel.exit_status(20) == 1
        with pytest.raises(ConnectError, match="no thanks"):
            channel.write(bytes(50_000_000))
        channel.close_stdin()


class TestHostKeys:
    def test_another_key_is_refused_before_anything_is_sent(self, target: Target, sshd: Sshd) -> None:
        other = asyncssh.generate_private_key("ssh-ed25519").export_public_key("openssh").decode().split()[1]
        sshd.users()
        with pytest.raises(ConnectError) as caught:
            SshConnector().connect(dataclasses.replace(target, host_keys={"ssh-ed25519": other}))
        text = str(caught.value)
        assert "worker 0 of sim-1" in text
        assert fingerprint(other) in text
        assert fingerprint(sshd.host_keys["ssh-ed25519"]) in text
        assert not caught.value.transient
        assert sshd.users() == []

    def test_fingerprints_are_those_of_openssh(self, sshd: Sshd) -> None:
        assert fingerprint(sshd.host_keys["ssh-ed25519"]) == sshd.fingerprint

    def test_without_known_keys_nothing_is_tried(self, target: Target) -> None:
        with pytest.raises(ConnectError, match="impostor") as caught:
            SshConnector().connect(dataclasses.replace(target, host_keys={}))
        assert not caught.value.transient

    def test_keys_of_unknown_kinds(self, target: Target) -> None:
        with pytest.raises(ConnectError, match="ssh-dss") as caught:
            SshConnector().connect(dataclasses.replace(target, host_keys={"ssh-dss": "AAAA"}))
        assert not caught.value.transient

    def test_a_comment_after_the_key_does_no_harm(
        self, connect: Callable[[Target], SshTransport], target: Target
    ) -> None:
        commented = {kind: f"{text} root@worker\n" for kind, text in target.host_keys.items()}
        assert connect(dataclasses.replace(target, host_keys=commented)).alive()

    @pytest.mark.parametrize("kind", ["ssh-rsa", "ecdsa-sha2-nistp256"])
    def test_other_kinds_of_keys(
        self,
        connect: Callable[[Target], SshTransport],
        target: Target,
        key: tuple[Path, str],
        kind: str,
    ) -> None:
        server = Sshd(key[1], kind)
        try:
            keys = server.host_keys | {"ssh-ed25519": target.host_keys["ssh-ed25519"]}
            there = dataclasses.replace(target, port=server.port, host_keys=keys)
            assert read_all(connect(there).exec("echo hello")) == b"hello\n"
        finally:
            server.close()


class TestFailures:
    def test_a_key_that_is_not_accepted(self, target: Target, tmp_path: Path) -> None:
        stranger, _ = write_key(tmp_path)
        with pytest.raises(ConnectError, match=r"authentication failed.*user l-eva") as caught:
            SshConnector().connect(dataclasses.replace(target, key_file=str(stranger)))
        assert caught.value.transient

    def test_a_key_file_that_is_none(self, target: Target, tmp_path: Path) -> None:
        with pytest.raises(ConnectError, match="missing"):
            SshConnector().connect(dataclasses.replace(target, key_file=str(tmp_path / "missing")))

    def test_nobody_listens(self, target: Target) -> None:
        with pytest.raises(ConnectError, match=r"worker 0 of sim-1 \(127\.0\.0\.1:1\): connect failed") as caught:
            SshConnector().connect(dataclasses.replace(target, port=1))
        assert caught.value.transient

    def test_no_such_host(self, target: Target) -> None:
        with pytest.raises(ConnectError, match="resolve failed"):
            SshConnector().connect(dataclasses.replace(target, host="no-such-host.invalid"))

    def test_somebody_silent_listens(self, target: Target) -> None:
        with listening() as port, pytest.raises(ConnectError, match="handshake failed") as caught:
            SshConnector().connect(dataclasses.replace(target, port=port, timeout_s=0.3))
        assert caught.value.transient

    def test_something_else_listens(self, target: Target, capfd: pytest.CaptureFixture[str]) -> None:
        with (
            listening(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 200) as port,
            pytest.raises(ConnectError, match="handshake failed"),
        ):
            SshConnector().connect(dataclasses.replace(target, port=port, timeout_s=1))
        assert capfd.readouterr().err == ""  # the library's own traceback is not shown

    def test_the_connection_is_dropped(self, transport: SshTransport, sshd: Sshd) -> None:
        channel = transport.exec("cat")
        channel.write(b"x")
        assert channel.read(timeout_s=20) == b"x"
        sshd.drop()
        with pytest.raises(ConnectError, match="worker 0 of sim-1") as caught:
            channel.read(timeout_s=20)
        assert caught.value.transient
        with pytest.raises(ConnectError):
            channel.exit_status(20)
        with pytest.raises(ConnectError):
            channel.write(b"x")
        with pytest.raises(ConnectError):
            transport.exec("true")
        assert not transport.alive()

    def test_a_peer_that_is_dead_without_a_word(
        self,
        connect: Callable[[Target], SshTransport],
        target: Target,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(ssh_channel, "KEEPALIVE_S", 0.01)
        monkeypatch.setattr(ssh_channel, "LOST_AFTER_S", 0.2)
        monkeypatch.setattr(ssh_channel, "_LOOK_S", 0.02)
        relay = SilentRelay(target.port)
        transport = connect(dataclasses.replace(target, port=relay.port))
        channel = transport.exec("cat")
        channel.write(b"x")
        assert channel.read(timeout_s=20) == b"x"
        assert transport.alive()
        relay.go_silent()
        with pytest.raises(ConnectError):
            channel.read()
        transport.close()
        relay.close()

    def test_a_worker_that_hangs_while_a_command_starts(
        self, target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ssh_channel, "KEEPALIVE_S", 0.01)
        monkeypatch.setattr(ssh_channel, "LOST_AFTER_S", 0.2)
        with hanging() as (port, host_keys):
            transport = SshConnector().connect(dataclasses.replace(target, port=port, host_keys=host_keys))
            with pytest.raises(ConnectError) as caught:
                transport.exec("true")
            assert caught.value.transient
            transport.close()

    def test_a_dying_connection_is_no_end_of_the_output(
        self, transport: SshTransport, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        channel, inner = transport.exec("cat"), transport._transport
        channel._channel._unlink()  # what the library does first when a connection breaks; later it is inactive
        monkeypatch.setattr(inner, "join", lambda timeout=None: setattr(inner, "active", False))
        with pytest.raises(ConnectError) as caught:
            channel.read(timeout_s=20)
        assert caught.value.transient

    def test_close_may_be_called_again(self, transport: SshTransport) -> None:
        transport.close()
        transport.close()
        assert not transport.alive()


class TestProxyCommand:
    def test_it_carries_the_connection_and_is_ended(
        self, connect: Callable[[Target], SshTransport], target: Target, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        started: list[ssh_proxy.Proxy] = []
        monkeypatch.setattr("launcher.cloud.ssh.Proxy", lambda t: started.append(ssh_proxy.Proxy(t)) or started[-1])
        transport = connect(dataclasses.replace(target, proxy_command=tunnel("%h", "%p")))
        data = os.urandom(1_000_000)
        channel = transport.exec("cat")
        channel.write(data)
        channel.close_stdin()
        assert read_all(channel) == data
        assert started[0].ended(0) is None
        transport.close()
        assert started[0].ended(0) is not None

    def test_one_that_ignores_its_end_is_ended(self, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ssh_proxy, "_GRACE_S", 0.1)
        stubborn = "import os, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.write(2, b'up\\n')\n"
        stubborn += "while True: signal.pause()"
        proxy = ssh_proxy.Proxy(dataclasses.replace(target, proxy_command=shlex.join([sys.executable, "-c", stubborn])))
        while not proxy.said():
            assert proxy.ended(0.01) is None
        proxy.close()
        assert proxy.ended(0) == -9

    def test_what_it_said_is_in_the_error(self, target: Target) -> None:
        script = "import sys; sys.exit('ERROR: (gcloud) Error 4033: not authorized for instance ' + sys.argv[1])"
        command = shlex.join([sys.executable, "-c", script, "%n"])
        with pytest.raises(ConnectError) as caught:
            SshConnector().connect(dataclasses.replace(target, proxy_command=command, instance="t1v-n-1-w-0"))
        text = str(caught.value)
        assert "not authorized for instance t1v-n-1-w-0" in text and "status 1" in text
        assert not caught.value.transient

    def test_one_that_fails_for_now(self, target: Target) -> None:
        command = shlex.join([sys.executable, "-c", "import sys; sys.exit('4003: failed to connect to backend')"])
        with pytest.raises(ConnectError, match="failed to connect to backend") as caught:
            SshConnector().connect(dataclasses.replace(target, proxy_command=command))
        assert caught.value.transient

    @pytest.mark.parametrize(
        "command, words",
        [
            ("no-such-command %h", "'no-such-command' is not installed"),
            ("sh -c true %n", "instance's name"),
            ("sh %x", "%x is not known"),
            ("sh 'unclosed", "quotation"),
        ],
    )
    def test_commands_that_cannot_work(self, target: Target, command: str, words: str) -> None:
        with pytest.raises(ConnectError, match=words) as caught:
            SshConnector().connect(dataclasses.replace(target, proxy_command=command))
        assert not caught.value.transient

    def test_no_shell_reads_it(self, target: Target, tmp_path: Path) -> None:
        arguments = ssh_proxy.arguments(
            dataclasses.replace(target, proxy_command="tunnel '%h;x' $(touch y) %p%%", host="h`id`")
        )
        assert arguments == ["tunnel", "h`id`;x", "$(touch", "y)", f"{target.port}%"]

    def test_a_host_that_looks_like_an_option(self, target: Target) -> None:
        with pytest.raises(ConnectError, match="-oProxy"):
            ssh_proxy.arguments(dataclasses.replace(target, proxy_command="tunnel %n", instance="-oProxy"))

    def test_googles_own(self, target: Target) -> None:
        command = iap_proxy_command("my-project", "us-central1-a")
        there = dataclasses.replace(target, proxy_command=command, instance="t1v-n-1-w-0", port=22)
        assert ssh_proxy.arguments(there)[:5] == ["gcloud", "compute", "start-iap-tunnel", "t1v-n-1-w-0", "22"]
        assert {"--listen-on-stdin", "--project=my-project", "--zone=us-central1-a"} <= set(ssh_proxy.arguments(there))
