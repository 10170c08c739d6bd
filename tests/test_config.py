from __future__ import annotations

import dataclasses
import errno
import os
import re
import socket
from pathlib import Path

import pytest

from launcher import config
from launcher.config import Profile, load_profile, normalise_owner, read_profile, save_profile
from launcher.errors import ConfigError
from launcher.private_files import create_private, read_private, write_private
from launcher.records.policy import PolicySettings

WORK = Profile(
    name="work",
    platform="team",
    project="my-project-1",
    zones=("us-central1-a", "us-west4-a"),
    bucket="team-jobs",
    control_bucket="team-control",
    owner="eva",
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAUNCHER_CONFIG_DIR", str(tmp_path / "config"))
    return tmp_path / "config"


def write_profile(folder: Path, text: str, name: str = "work") -> Path:
    path = folder / "profiles" / f"{name}.toml"
    config.config_dir()
    write_private(path, text.encode())
    return path


class TestFolder:
    def test_everything_in_it_is_the_users_alone(self, folder: Path) -> None:
        path = save_profile(WORK)
        assert [oct(each.stat().st_mode & 0o777) for each in (folder, path.parent, path)] == ["0o700", "0o700", "0o600"]

    @pytest.mark.parametrize("mode", [0o750, 0o707, 0o770])
    def test_a_folder_that_is_open_to_others(self, folder: Path, mode: int) -> None:
        folder.mkdir()
        folder.chmod(mode)
        with pytest.raises(ConfigError, match="chmod u=rwX,go=") as caught:
            load_profile("work")
        assert str(folder) in str(caught.value) and f"{mode:04o}" in str(caught.value)

    def test_a_file_that_is_open_to_others(self, folder: Path) -> None:
        path = save_profile(WORK)
        path.chmod(0o644)
        with pytest.raises(ConfigError, match=r"work\.toml is open to other users.*chmod"):
            load_profile("work")

    def test_a_file_of_somebody_else(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        save_profile(WORK)
        mine = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
        with pytest.raises(ConfigError, match=f"belongs to user {mine}, not to you"):
            load_profile("work")

    def test_a_file_in_its_place(self, folder: Path) -> None:
        folder.touch(0o600)
        with pytest.raises(ConfigError, match="Move away what is there"):
            config.config_dir()
        with pytest.raises(ConfigError, match="cannot be read: Not a directory"):
            read_profile("work")

    def test_where_it_is(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("LAUNCHER_CONFIG_DIR")
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
        assert config.config_dir(create=False) == tmp_path / "xdg" / "launcher"
        monkeypatch.setenv("XDG_CONFIG_HOME", "not/absolute")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert config.config_dir(create=False) == tmp_path / ".config" / "launcher"
        assert not (tmp_path / ".config").exists()

    def test_private_files(self, tmp_path: Path) -> None:
        path = tmp_path / "a" / "b"
        assert read_private(path) is None
        assert create_private(path, b"one")
        assert not create_private(path, b"two")
        assert read_private(path) == b"one"
        write_private(path, b"three")
        assert read_private(path) == b"three"
        assert [each.name for each in path.parent.iterdir()] == ["b"]

    def test_a_write_that_fails_leaves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        for write in (write_private, create_private):
            with pytest.raises(ConfigError, match="No space left"):
                write(tmp_path / "a", b"one")
        assert list(tmp_path.iterdir()) == []


class TestProfiles:
    def test_saved_and_read(self) -> None:
        proxied = dataclasses.replace(
            WORK, connect="external", proxy_command="corkscrew 'a b' %h \"%p\" \\", ssh_port=2222
        )
        save_profile(proxied)
        assert read_profile("work") == proxied
        assert load_profile("work") == proxied

    def test_of_a_simulator_that_was_stopped_says_how_to_start_it(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = f"http://127.0.0.1:{server.getsockname()[1]}"
            gone = dataclasses.replace(WORK, credentials="anonymous", tpu_endpoint=address, control_bucket="a-control")
            save_profile(gone)
            assert load_profile("work").simulated
        said = rf"no longer answers at {re.escape(address)}\..* init --bucket a-control --profile work"
        with pytest.raises(ConfigError, match=said):
            load_profile("work")

    def test_what_it_says_of_its_nodes(self, folder: Path) -> None:
        assert (WORK.keep_warm_s, WORK.max_lifetime_s, WORK.shared_pool) == (900.0, 86400.0, False)
        shared = dataclasses.replace(WORK, keep_warm_s=0.0, max_lifetime_s=3600.0, shared_pool=True)
        save_profile(shared)
        assert read_profile("work") == shared
        slow = dataclasses.replace(WORK, lease_ttl_s=600.0, grace_s=60.0, drain_s=30.0, timer_margin_s=300.0)
        save_profile(slow)
        assert read_profile("work").policy == PolicySettings(ttl_s=600.0, grace_s=60.0, drain_s=30.0, margin_s=300.0)
        write_profile(folder, "lease_ttl_s = 100\n")
        with pytest.raises(ConfigError, match="lease_ttl_s = 100: must be at least 180 seconds"):
            read_profile("work")
        write_profile(folder, 'keep_warm_s = -1\nmax_lifetime_s = 0\nshared_pool = "yes"\n')
        with pytest.raises(ConfigError, match=r"keep_warm_s = -1(.|\n)*max_lifetime_s = 0(.|\n)*true or false"):
            read_profile("work")

    @pytest.mark.parametrize("command", ["relay {host} {port}", "relay %h %x", "relay %"])
    def test_a_proxy_command_with_unknown_parts_is_refused_before_anything_exists(self, command: str) -> None:
        with pytest.raises(ConfigError, match=r"proxy_command.*%h \(host\), %p \(port\)"):
            save_profile(dataclasses.replace(WORK, proxy_command=command))

    def test_the_first_one_is_the_default_until_another_is_chosen(self) -> None:
        save_profile(WORK)
        save_profile(dataclasses.replace(WORK, name="other"))
        assert config.list_profiles() == ("other", "work")
        assert load_profile().name == "work"
        config.select_profile("other")
        assert load_profile().name == "other"
        config.delete_profile("other")
        assert config.default_profile() is None
        assert config.list_profiles() == ("work",)

    def test_name_before_environment_before_default(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("one", "two", "three"):
            save_profile(dataclasses.replace(WORK, name=name))
        assert load_profile().name == "one"
        monkeypatch.setenv("LAUNCHER_PROFILE", "two")
        assert load_profile().name == "two"
        assert load_profile("three").name == "three"

    def test_not_twice_unless_meant(self) -> None:
        save_profile(WORK, overwrite=False)
        with pytest.raises(ConfigError, match="already"):
            save_profile(dataclasses.replace(WORK, bucket="other-bucket"), overwrite=False)
        assert read_profile("work").bucket == "team-jobs"

    def test_an_unknown_name(self) -> None:
        save_profile(WORK)
        with pytest.raises(ConfigError, match=r"no profile 'wrok'\. Did you mean 'work'"):
            load_profile("wrok")
        with pytest.raises(ConfigError, match="Did you mean 'simulator'"):
            load_profile("simulater")
        with pytest.raises(ConfigError, match="launcher profile list"):
            config.select_profile("zzz")

    @pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "UPPER", "x" * 41])
    def test_names_that_cannot_be(self, name: str) -> None:
        with pytest.raises(ConfigError, match="Profile name"):
            read_profile(name)

    def test_a_broken_one_can_be_deleted(self, folder: Path) -> None:
        path = write_profile(folder, "project = \n")
        config.delete_profile("work")
        assert not path.exists()
        with pytest.raises(ConfigError, match="no profile 'work'"):
            config.delete_profile("work")

    def test_the_simulators_name_is_taken(self) -> None:
        with pytest.raises(ConfigError, match="built in"):
            save_profile(dataclasses.replace(WORK, name="simulator"))

    def test_every_problem_at_once(self, folder: Path) -> None:
        path = write_profile(
            folder,
            'project = "My Project"\nbuckett = "x"\nzones = ["us-central1"]\nssh_port = 70000\nconnect = "wifi"\n'
            'platform = "Team!"\ncredentials = 3\n',
        )
        with pytest.raises(ConfigError) as caught:
            read_profile("work")
        problems = caught.value.problems
        assert all(str(path) in problem for problem in problems)
        for words in (
            "project = 'My Project'",
            "buckett: no such key. Did you mean 'bucket'?",
            "bucket is missing",
            "'us-central1' is not a zone's name",
            "ssh_port = 70000",
            "connect = 'wifi': must be 'external', 'internal' or 'iap'",
            "platform = 'Team!'",
            "credentials = 3: must be a string",
        ):
            assert any(words in problem for problem in problems), words

    def test_credentials_never_travel_in_the_clear(self, folder: Path) -> None:
        text = 'project = "my-project-1"\nzones = ["us-central1-a"]\nbucket = "jobs"\nowner = "eva"\n'
        write_profile(folder, text + 'storage_endpoint = "http://storage.example.com"\n')
        with pytest.raises(ConfigError, match="in the clear"):
            read_profile("work")
        for fine in ('storage_endpoint = "http://127.0.0.1:80"\n', 'credentials = "anonymous"\n'):
            write_profile(folder, text + fine)
            assert read_profile("work").bucket == "jobs"

    def test_broken_toml(self, folder: Path) -> None:
        path = write_profile(folder, "project = \n")
        with pytest.raises(ConfigError, match="not valid TOML") as caught:
            load_profile("work")
        assert str(path) in str(caught.value)

    def test_the_owner_is_asked_for_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        save_profile(dataclasses.replace(WORK, owner=""))
        monkeypatch.setattr("launcher.cloud.credentials.account", lambda kind: "Eva.Müller+tpu@example.com")
        assert load_profile("work").owner == "eva-m-ller-tpu"
        monkeypatch.setattr("launcher.cloud.credentials.account", lambda kind: "")
        assert load_profile("work").owner == "eva-m-ller-tpu"

    def test_an_owner_that_nobody_can_tell(self) -> None:
        save_profile(dataclasses.replace(WORK, owner="", credentials="anonymous"))
        with pytest.raises(ConfigError, match='owner = "NAME"'):
            load_profile("work")


class TestNoProfile:
    def test_no_terminal(self) -> None:
        with pytest.raises(ConfigError, match="LAUNCHER_PROFILE=simulator") as caught:
            load_profile(interactive=False)
        assert "no terminal" in str(caught.value)

    def test_tests_have_no_terminal(self) -> None:
        with pytest.raises(ConfigError, match="no terminal"):
            load_profile()

    def test_something_that_only_a_cloud_has(self) -> None:
        with pytest.raises(ConfigError, match="spot, zone, which only a cloud has"):
            load_profile(interactive=True, cloud_only=("spot", "zone"))

    def test_in_a_terminal_the_simulator(self, monkeypatch: pytest.MonkeyPatch) -> None:
        simulated = dataclasses.replace(WORK, name="simulator", simulated=True)
        monkeypatch.setattr("launcher.simulator_process.find_or_start", lambda: simulated)
        assert load_profile(interactive=True) is simulated


@pytest.mark.parametrize(
    "text, owner",
    [
        ("eva@example.com", "eva"),
        ("Eva.Maria@example.com", "eva-maria"),
        ("root", "root"),
        ("a" * 60 + "@x", "a" * 31),
        ("a" * 30 + ".b@x", "a" * 30),
        ("sa-1@p.iam.gserviceaccount.com", "sa-1"),
    ],
)
def test_owners(text: str, owner: str) -> None:
    assert normalise_owner(text) == owner


def test_an_owner_of_nothing() -> None:
    with pytest.raises(ConfigError, match="owner ="):
        normalise_owner("@@")
