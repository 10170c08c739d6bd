"""A platform as Terraform leaves it on a simulator: joined by one name, its pools obeyed, its nodes used and reaped."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.shipping.environment import cloudpickle_pin
from tests.e2e.commands import answer
from tests.e2e.conftest import User, assert_nothing_left
from tests.e2e.leftovers import wait_until
from tests.packages import PackageIndex, download, python_mirror, wheel

ZONE, OTHER_ZONE = "us-central1-a", "us-west4-a"
RUNTIME = "v2-alpha-tpuv5-lite"
TOKEN = "simulated-.{20,}"  # of the metadata server
PLATFORM: dict[str, Any] = {
    "schema": 1,
    "platform": "tpu",
    "project": "simulated-project",
    "region": "us-central1",
    "zones": [ZONE, OTHER_ZONE],
    "bucket": "tpu-jobs",
    "control_bucket": "tpu-control",
    "connect": "iap",
    "service_account": None,
    "service_accounts": {"red": "red@simulated-project.iam.gserviceaccount.com"},
    "idle_shutdown": {"drain_s": 300, "grace_s": 600, "keep_warm_s": 900, "max_lifetime_s": 86400},
    "pools": {
        "dear": {"accelerator": "v5litepod-8", "zones": [ZONE], "max_usd_per_hour": 1.0},
        "small": {
            "accelerator": "v5litepod-1",
            "zones": [OTHER_ZONE, ZONE],
            "spot": True,
            "keep_warm_s": 600,
            "max_lifetime_s": 7200,
        },
    },
    "nodes": [
        {
            "node": "tpu-dev",
            "zone": ZONE,
            "accelerator": "v5litepod-4",
            "runtime_version": RUNTIME,
            "keep_warm_s": 1200,
        },
        {
            "node": "tpu-queued-0",
            "queued_resource": "tpu-queued",
            "zone": ZONE,
            "accelerator": "v5litepod-1",
            "spot": False,
            "runtime_version": RUNTIME,
        },
    ],
}


class Operator:
    """Makes on the simulator what Terraform makes, by the same requests."""

    def __init__(self, user: User) -> None:
        status = answer("launcher.sim", "status", "--json", env=user.env)
        self.user, self.root, self.project = user, status["tpu"], status["project"]
        for bucket in ("tpu-jobs", "tpu-control"):
            self.send("POST", f"/storage/v1/b?project={self.project}", {"name": bucket})
        self.put(PLATFORM)

    def send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(self.root + path, data, headers, method=method)) as answer:
            return json.loads(answer.read() or b"null")

    def put(self, document: dict[str, Any]) -> None:
        self.send("POST", "/upload/storage/v1/b/tpu-control/o?uploadType=media&name=platform.json", document)

    def node(self, name: str = "tpu-dev", accelerator: str = "v5litepod-4") -> None:
        body = {"acceleratorType": accelerator, "runtimeVersion": RUNTIME}
        self.send("POST", f"{self.zone}/nodes?nodeId={name}", body)
        assert wait_until(lambda: self.state("nodes", name) == "READY")

    def queued(self, name: str = "tpu-queued") -> None:
        """It has neither labels nor metadata: the provider's resource cannot say them."""
        node = {"acceleratorType": "v5litepod-1", "runtimeVersion": RUNTIME}
        spec = {"parent": self.zone.removeprefix("/v2/"), "nodeId": f"{name}-0", "node": node}
        self.send("POST", f"{self.zone}/queuedResources?queuedResourceId={name}", {"tpu": {"nodeSpec": [spec]}})
        assert wait_until(lambda: self.state("nodes", f"{name}-0") == "READY")

    @property
    def zone(self) -> str:
        return f"/v2/projects/{self.project}/locations/{ZONE}"

    def state(self, collection: str, name: str) -> str | None:
        listed = self.send("GET", f"{self.zone}/{collection}").get(collection, [])
        states = {each["name"].rpartition("/")[2]: each.get("state") for each in listed}
        return states.get(name)

    def names(self) -> set[str]:
        return {each["name"] for each in self.user.nodes()}


@pytest.fixture
def operator(fresh_simulator: dict[str, str], tmp_path: Path) -> Iterator[Operator]:
    """With a user who has joined."""
    folder = tmp_path / "project"
    folder.mkdir()
    user = User(folder, dict(fresh_simulator))
    operator = Operator(user)
    joined = user.launcher("init", "--bucket", "tpu-control", "--json")
    assert joined.code == 0, joined.err
    user.env["LAUNCHER_PROFILE"] = "tpu"
    yield operator
    operator.put(PLATFORM)
    for name in operator.names():
        answer("launcher.cli", "nodes", "down", name, "--force", "--json", env=user.env)
    assert_nothing_left(user.env)


def advance(operator: Operator, time: str) -> None:
    assert operator.user.launcher("sim", "advance", time).code == 0


def test_a_platform_is_joined_by_the_name_of_its_control_bucket(operator: Operator) -> None:
    user = operator.user
    shown = json.loads(user.launcher("profile", "show", "--json").out)
    assert (shown["platform"], shown["bucket"], shown["control_bucket"]) == ("tpu", "tpu-jobs", "tpu-control")
    assert (shown["connect"], shown["credentials"], shown["storage_endpoint"]) == (
        "internal",
        "anonymous",
        operator.root,
    )
    assert shown["service_account"].startswith("red@") and shown["zones"] == [ZONE, OTHER_ZONE]
    assert user.launcher("profile", "set", "tpu", "owner=eva").code == 0
    operator.put({**PLATFORM, "zones": [ZONE]})
    stale = user.launcher("doctor")
    assert stale.code == 1 and "launcher init --bucket tpu-control --profile tpu" in stale.out
    again = user.launcher("init", "--bucket", "gs://tpu-control/", STORAGE_EMULATOR_HOST=operator.root)
    assert "joined SIMULATED platform tpu in project simulated-project, team red: profile tpu" in again.out, again.err
    assert "small (v5litepod-1 spot, 1 node at most)" in again.out and "tpu-queued-0 (v5litepod-1)" in again.out
    shown = json.loads(user.launcher("profile", "show", "--json").out)
    assert (shown["zones"], shown["owner"]) == ([ZONE], "eva")


def test_calls_get_what_their_pool_says_and_no_more_nodes_than_it_has(operator: Operator) -> None:
    user = operator.user
    ran = user.script(
        """
        import os
        from concurrent.futures import ThreadPoolExecutor

        @launcher.run(pool="small")
        def f(go=None):
            if go:
                open(go + ".started", "w").close()
                while not os.path.exists(go):
                    pass
            return 1

        def refused(**options):
            try:
                f.with_options(**{"pool": None, **options})()
            except launcher.LauncherError as exc:
                return str(exc)

        go = os.path.abspath("go")
        with ThreadPoolExecutor(2) as threads:
            running = threads.submit(f, go)
            while not os.path.exists(go + ".started"):
                assert not running.done(), running.result()
            full = refused(accelerator="v5litepod-1", spot=True)
            waits = threads.submit(f.with_options(wait_timeout_s=100))
            assert not waits.done()
            open(go, "w").close()
            report([
                running.result(), waits.result(), full,
                refused(accelerator="v6e-1"),
                refused(accelerator="v5litepod-8"),
                refused(accelerator="v5litepod-1", spot=True, keep_warm_s=700, max_lifetime_s=7201),
                refused(pool="smal"),
            ])
        """
    )
    first, second, full, unknown, dear, long, slip = ran.value
    assert (first, second) == (1, 1)
    (node,) = [each for each in user.nodes() if not each["standing"]]
    assert (node["zone"], node["spot"], node["lease"]) == (OTHER_ZONE, True, "WARM")
    assert (
        full.startswith("pool 'small' of platform tpu has 1 of 1 nodes: ") and f"{node['name']} in {OTHER_ZONE}" in full
    )
    assert "in use by " in full and 'tpu_pools["small"].max_nodes' in full
    assert unknown.startswith("no pool of platform tpu has v6e-1, on demand. There are: dear: v5litepod-8, on demand")
    assert 'tpu_pools["dear"].max_usd_per_hour' in dear and "$9.60" in dear
    assert "keep_warm_s = 700 is more than pool 'small' allows, 600" in long and "max_lifetime_s = 7201" in long
    assert "Did you mean 'small'?" in slip
    document = operator.send("GET", f"/v2/projects/{operator.project}/locations/{OTHER_ZONE}/nodes")
    assert document["nodes"][0]["labels"]["launcher-pool"] == "small"


def test_a_node_of_terraforms_is_used_by_its_name_and_by_what_it_is_and_reaped_when_idle(operator: Operator) -> None:
    user = operator.user
    operator.node()
    operator.queued()
    assert operator.names() == {"tpu-dev", "tpu-queued"}
    named = user.call("def f(): return 1", options='"v5litepod-4", node="dev", keep_warm_s=0')
    assert named.value == 1, named.err
    found = user.call("def f(): return 2", options='"v5litepod-1", spot=True, pool="small", keep_warm_s=0')
    assert found.value == 2, found.err
    nodes = {each["name"]: each for each in user.nodes()}
    assert {name: (node["lease"], node["external"], node["standing"]) for name, node in nodes.items()} == {
        "tpu-dev": ("WARM", False, True),
        "tpu-queued": ("WARM", False, True),
    }
    advance(operator, "16m")  # its keep_warm_s is the platform's 15 min, tpu-dev's are 20
    assert "tpu-queued" in user.launcher("reap").out
    assert wait_until(lambda: operator.names() == {"tpu-dev"})
    advance(operator, "5m")
    assert "delete tpu-dev" in user.launcher("reap").out
    assert wait_until(lambda: not operator.names())
    operator.node()  # the next apply makes it anew, under the same name
    assert user.launcher("reap").out == ""
    again = user.call("def f(): return 3", options='"v5litepod-4", node="tpu-dev"')
    assert again.value == 3, again.err


def test_nodes_without_internet_get_their_packages_from_the_platforms_repository(
    operator: Operator, tmp_path: Path
) -> None:
    user = operator.user
    folder = tmp_path / "wheels"
    folder.mkdir()
    wheel(folder, "only_inside", "1.0")
    download(cloudpickle_pin(), folder)
    user.write("requirements.txt", "only_inside\n")
    mirror = python_mirror(tmp_path / "pythons")
    with PackageIndex(folder, token=TOKEN) as index:
        operator.put({**PLATFORM, "internet": False, "python_index": index.url})
        called = user.call(
            """
            def f():
                import only_inside
                return only_inside.__name__
            """,
            options='pool="small"',
            **{**mirror, "UV_FIND_LINKS": str(folder)},
        )
    assert called.value == "only_inside", called.err
    assert sorted(index.served) == sorted(each.name for each in folder.glob("*.whl"))
    assert f"workers have no internet: their packages come from {index.url}" in called.err
