from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.cloud.project import CloudProject
from launcher.cloud.seams import TpuQuota
from launcher.config import Profile
from launcher.errors import ApiDisabled, InvalidRequest, NotFound, PermissionDenied, Unavailable
from launcher.sim import control
from tests.cloud.relay import FakeClock, Fault, Relay, google_error

ZONE = "us-central1-a"
HELD = ("tpu.nodes.create", "tpu.nodes.get")
ACCOUNT = "runner@simulated-project.iam.gserviceaccount.com"


@pytest.fixture
def through_relay(profile: Profile, relay: Relay, clock: FakeClock) -> CloudProject:
    endpoints = {f.name: relay.url for f in dataclasses.fields(profile) if f.name.endswith("_endpoint")}
    return CloudProject(dataclasses.replace(profile, **endpoints), clock=clock)  # type: ignore[arg-type]


@pytest.fixture
def project(through_relay: CloudProject, sim_folder: Path) -> Iterator[CloudProject]:
    yield through_relay
    for name in {fault["name"] for fault in (control.status(sim_folder) or {})["faults"]}:
        control.inject(name, off=True, folder=sim_folder)


def test_nothing_is_missing(project: CloudProject, profile: Profile) -> None:
    assert project.missing_permissions(HELD) == ()
    assert project.missing_bucket_permissions(profile.bucket, ["storage.objects.get"]) == ()
    assert project.missing_account_permissions(ACCOUNT, ["iam.serviceAccounts.actAs"]) == ()
    assert project.disabled_services(["tpu.googleapis.com", "storage.googleapis.com"]) == ()
    assert project.account() == ""


def test_what_is_missing_is_told_in_the_order_asked(project: CloudProject, profile: Profile, sim_folder: Path) -> None:
    for missing in ("tpu.nodes.get", "storage.objects.list", "iam.serviceAccounts.actAs"):
        control.inject("missing-permission", value=missing, folder=sim_folder)
    assert project.missing_permissions(["tpu.nodes.create", "tpu.nodes.get"]) == ("tpu.nodes.get",)
    asked = ["storage.objects.list", "storage.objects.get"]
    assert project.missing_bucket_permissions(profile.bucket, asked) == ("storage.objects.list",)
    assert project.missing_account_permissions(ACCOUNT, ["iam.serviceAccounts.actAs"]) == ("iam.serviceAccounts.actAs",)


def test_more_permissions_than_one_request_takes(project: CloudProject, relay: Relay, sim_folder: Path) -> None:
    control.inject("missing-permission", value="storage.objects.n149", folder=sim_folder)
    control.inject("missing-permission", value="compute.instances.get", folder=sim_folder)
    many = [f"compute.instances.get{'x' * number}" for number in range(150)]
    assert project.missing_permissions(many) == ("compute.instances.get",)
    assert len(relay.seen) == 2


def test_a_permission_that_google_does_not_know_is_not_missing(project: CloudProject) -> None:
    assert project.missing_permissions(["tpu.queuedResources.create", "tpu.nodes.get"]) == ()
    assert project.missing_permissions(["tpu.queuedResources.create"]) == ()


def test_a_refusal_for_another_reason_is_told(project: CloudProject, relay: Relay) -> None:
    relay.faults.append(Fault(":testIamPermissions", status=400, body=google_error(400, "an invalid argument")))
    with pytest.raises(InvalidRequest, match="an invalid argument"):
        project.missing_permissions(HELD)


def test_disabled_services(project: CloudProject, sim_folder: Path) -> None:
    control.inject("disabled-api", value="tpu.googleapis.com", folder=sim_folder)
    control.inject("disabled-api", value="iap.googleapis.com", folder=sim_folder)
    asked = ["iap.googleapis.com", "storage.googleapis.com", "tpu.googleapis.com"]
    assert project.disabled_services(asked) == ("iap.googleapis.com", "tpu.googleapis.com")


def test_an_api_that_is_asked_can_be_disabled_itself(project: CloudProject, sim_folder: Path) -> None:
    control.inject("disabled-api", value="cloudresourcemanager.googleapis.com", folder=sim_folder)
    with pytest.raises(ApiDisabled, match=r"gcloud services enable cloudresourcemanager\.googleapis\.com --project"):
        project.missing_permissions(HELD)


def test_reading_services_needs_a_permission_of_its_own(project: CloudProject, sim_folder: Path) -> None:
    control.inject("missing-permission", value="serviceusage.services.get", folder=sim_folder)
    with pytest.raises(PermissionDenied, match=r"lacks serviceusage\.services\.get .*serviceUsageViewer"):
        project.disabled_services(["tpu.googleapis.com"])


def test_no_such_bucket_account_or_project(project: CloudProject, profile: Profile, relay: Relay) -> None:
    with pytest.raises(NotFound, match="gcloud storage buckets describe gs://no-such-bucket"):
        project.missing_bucket_permissions("no-such-bucket", ["storage.objects.get"])
    with pytest.raises(NotFound, match="nobody@x"):
        project.missing_account_permissions("nobody@x", ["iam.serviceAccounts.actAs"])
    other = dataclasses.replace(profile, project="another-project")
    with pytest.raises(PermissionDenied, match="project another-project"):
        CloudProject(other).missing_permissions(HELD)


def test_quotas_of_a_zone(project: CloudProject, sim_folder: Path) -> None:
    control.inject("page-size", value="3", folder=sim_folder)
    quotas = {each.name: each.limit for each in project.tpu_quotas(ZONE)}
    assert quotas["tpu-v5s-litepod"] == quotas["tpu-v6e-preemptible"] > 0
    assert len(quotas) == 14
    control.inject("quota", zone=ZONE, folder=sim_folder)
    assert set(project.tpu_quotas(ZONE)) == {TpuQuota(name, 0) for name in quotas}
    assert all(each.limit > 0 for each in project.tpu_quotas("us-west4-a"))


def limit(unit: str, *buckets: dict[str, object]) -> dict[str, object]:
    return {"unit": unit, "quotaBuckets": list(buckets)}


@pytest.mark.parametrize(
    "limits, expected",
    [
        ([limit("1/{project}/{zone}", {"effectiveLimit": "8"})], [8]),
        ([limit("1/{project}/{zone}", {"effectiveLimit": "-1"})], [-1]),
        ([limit("1/{project}/{zone}", {})], [0]),
        ([limit("1/{project}/{zone}")], [0]),
        ([limit("1/{project}/{zone}", {"effectiveLimit": "8"}, {"dimensions": {"zone": ZONE}})], [0]),
        ([limit("1/{project}/{zone}", {"effectiveLimit": "8"}, {"dimensions": {"zone": "us-west4-a"}})], [8]),
        (
            [limit("1/{project}/{region}", {}, {"effectiveLimit": "4", "dimensions": {"region": "us-central1"}})],
            [4],
        ),
        ([limit("1/min/{project}/{region}", {"effectiveLimit": "60"}), limit("1/min/{project}", {})], []),
    ],
)
def test_the_limit_of_the_place_counts(
    project: CloudProject, relay: Relay, limits: list[dict[str, object]], expected: list[int]
) -> None:
    metric = {"metric": "tpu.googleapis.com/tpu-v6e", "consumerQuotaLimits": limits}
    relay.faults.append(Fault("consumerQuotaMetrics", status=200, body={"metrics": [metric]}))
    assert list(project.tpu_quotas(ZONE)) == [TpuQuota("tpu-v6e", each) for each in expected]


def test_an_outage_is_waited_for_and_then_told(project: CloudProject, relay: Relay, clock: FakeClock) -> None:
    relay.faults.append(Fault("services:batchGet", status=503))
    assert project.disabled_services(["tpu.googleapis.com"]) == ()
    relay.faults.append(Fault("services:batchGet", status=503, times=1000))
    with pytest.raises(Unavailable, match="which APIs are enabled in project simulated-project"):
        project.disabled_services(["tpu.googleapis.com"])
    assert sum(clock.waits) >= 10
