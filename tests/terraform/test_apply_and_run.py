"""examples/tpu-vms, applied to the simulator: a platform on which calls run, and whose idle nodes go away."""

from __future__ import annotations

import json
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from launcher.cloud.storage import GcsBucket
from launcher.config import load_profile
from launcher.records import paths, platform
from launcher.records.platform import PlatformFile, StandingNode
from tests.e2e.conftest import User
from tests.e2e.leftovers import wait_until
from tests.functions.serving import Site, post, serving
from tests.functions.tokens import bearer
from tests.terraform.conftest import Run
from tests.terraform.harness import Terraform, copied, simulator_env

FUNCTION = "module.platform.module.idle_shutdown.google_cloudfunctions2_function.this"
SCHEDULER_JOB = "module.platform.module.idle_shutdown.google_cloud_scheduler_job.this"
CALL = """
@launcher.run({options})
def f(x):
    return x + 1

job = f.submit(1)
report([job.result(), job.node])
"""


class Applied:
    """The example, its simulator, and a user who has joined the platform."""

    def __init__(self, terraform: Terraform, user: User) -> None:
        self.terraform = terraform
        self.user = user
        self.project = simulator_env(user.env)["GOOGLE_PROJECT"]
        terraform.apply(project_id=self.project)
        self.said: dict[str, Any] = terraform.outputs()["launcher"]
        ran = user.launcher("init", "--terraform", str(terraform.folder), LAUNCHER_PROFILE="simulator")
        assert ran.code == 0, ran.err
        user.env["LAUNCHER_PROFILE"] = self.said["platform"]

    @property
    def file(self) -> PlatformFile:
        return platform.parse(json.dumps(self.said).encode())

    def node(self, *, queued: bool) -> StandingNode:
        return next(each for each in self.file.nodes if (each.queued_resource is not None) == queued)

    def address(self, node: StandingNode) -> str:
        kind = "google_tpu_v2_queued_resource" if node.queued_resource else "google_tpu_v2_vm"
        key = node.resource.removeprefix(f"{self.said['platform']}-")
        return f'module.platform.module.tpu_vms.{kind}.this["{key}"]'

    def changes(self) -> dict[str, str]:
        return self.terraform.changes(project_id=self.project)

    def call(self, options: str) -> Any:
        ran = self.user.script(CALL.format(options=options))
        assert ran.code == 0, ran.err
        return ran.value

    def states(self) -> dict[str, str]:
        return {each["name"]: each["state"] for each in self.user.nodes()}

    def ready(self, *nodes: StandingNode) -> bool:
        return wait_until(lambda: all(self.states().get(node.resource) in ("READY", "ACTIVE") for node in nodes))

    def advance(self, seconds: float) -> None:
        assert self.user.launcher("sim", "advance", f"{seconds:.0f}s").code == 0


@pytest.fixture
def applied(
    terraform: Run, fresh_simulator: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Applied:
    for name, value in fresh_simulator.items():
        if name.startswith("LAUNCHER_"):
            monkeypatch.setenv(name, value)
    project = tmp_path / "project"
    project.mkdir()
    here = terraform(copied(tmp_path) / "examples/tpu-vms", simulator_env(fresh_simulator)).init()
    return Applied(here, User(project, dict(fresh_simulator)))


def test_platform_json_is_what_the_launcher_reads(applied: Applied) -> None:
    assert applied.changes() == {}
    profile = load_profile(applied.said["platform"])
    control = GcsBucket(applied.said["control_bucket"], profile.storage_endpoint, credentials=profile.credentials)
    stored = control.read(paths.PLATFORM)
    assert stored is not None and json.loads(stored.data) == applied.said
    file = platform.parse(stored.data)
    assert (profile.project, profile.zones, profile.bucket) == (file.project, file.zones, file.bucket)
    assert profile.simulated and profile.control_bucket == file.control_bucket
    assert file.nodes and {each.node for each in file.nodes} <= {
        name for node in applied.user.nodes() for name in (node["name"], f"{node['name']}-0")
    }


def test_a_function_runs_on_a_standing_node_which_goes_when_it_is_idle(
    applied: Applied, function_python: Path, tmp_path: Path
) -> None:
    node, other = applied.node(queued=False), applied.node(queued=True)
    assert applied.ready(node, other)
    assert applied.call(f"node={node.node!r}") == [2, node.node]
    assert applied.call(f"{node.accelerator!r}") == [2, node.node]
    # What the pool makes is the launcher's own, and none of Terraform's business.
    (pool,) = applied.file.pools
    value, made = applied.call(f"pool={pool!r}, keep_warm_s=0")
    assert value == 2 and made not in {node.node, other.node}
    assert wait_until(lambda: applied.states().keys() == {node.resource, other.resource})
    # Used half its time later, the other node is not idle yet when this one is.
    applied.advance(node.keep_warm_s / 2)
    assert applied.call(f"{other.accelerator!r}, node={other.node!r}") == [2, other.node]
    applied.advance(node.keep_warm_s / 2 + 60)

    there = applied.terraform.resources()
    function, job = there[FUNCTION], there[SCHEDULER_JOB]
    (target,), (built,), (service,) = job["http_target"], function["build_config"], function["service_config"]
    assert target["uri"] == service["uri"]
    profile = load_profile(applied.said["platform"])
    (source,) = built["source"][0]["storage_source"]
    control = GcsBucket(source["bucket"], profile.storage_endpoint, credentials=profile.credentials)
    archive = control.read(source["object"])
    assert archive is not None and archive.generation == source["generation"]
    site = Site(tmp_path / "site", function_python)
    zipfile.ZipFile(BytesIO(archive.data)).extractall(site.folder)
    (token,) = target["oidc_token"]
    settings = service["environment_variables"] | {"AUDIENCE": token["audience"]}
    with serving(profile, site, built["entry_point"], **settings) as url:
        scheduler = bearer(email=token["service_account_email"], aud=token["audience"])
        status, answer = post(url, {}, **scheduler)
    assert (status, answer["errors"]) == (200, []), answer
    assert [each["resource"] for each in answer["decisions"]] == [node.resource]

    assert applied.changes() == {applied.address(node): "create"}
    applied.terraform.apply(project_id=applied.project)
    assert applied.changes() == {} and applied.ready(node)


def test_a_live_queued_resource_is_taken_down_before_it_is_destroyed(applied: Applied) -> None:
    node = applied.node(queued=True)
    assert applied.ready(node)
    arguments = ("-auto-approve", "-no-color", f"-var=project_id={applied.project}")
    ran = applied.terraform.run("destroy", *arguments, f"-target={applied.address(node)}")
    assert ran.code == 1
    said = " ".join(ran.err.split())
    assert "Error when reading or editing QueuedResource: googleapi: Error 400: " in said and "ACTIVE" in said
    down = applied.user.launcher("nodes", "down", node.resource)
    assert down.code == 0, down.err
    applied.terraform.checked("destroy", *arguments, f"-target={applied.address(node)}")
    assert applied.changes() == {applied.address(node): "create"}
