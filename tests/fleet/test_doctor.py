from __future__ import annotations

import dataclasses
import time

import pytest

from launcher.accelerators import parse
from launcher.cloud.retry import ENABLE, GRANT
from launcher.cloud.seams import TpuQuota
from launcher.errors import ApiDisabled, CloudError, ConfigError, NotFound, OutOfCapacity, PermissionDenied, Unavailable
from launcher.fleet import access, doctor
from launcher.fleet.doctor import Check, Verdict
from launcher.records import codec
from launcher.records.freeze import Freeze
from launcher.records.paths import FREEZE
from tests.fleet.fakes import ZONE, Fake, fake

ACCOUNT = "runner@project.iam.gserviceaccount.com"
V5E = parse("v5litepod-8")
ADA = "--member=user:ada@example.com"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Fake:
    found = fake(connect="iap", service_account=ACCOUNT, control_bucket="c")
    vars(found.platform).update(control_store=found.store)
    monkeypatch.setattr(found.store, "time", time.time)
    return found


def examine(world: Fake, *names: str, **options: object) -> list[Check]:
    found = list(doctor.examine(world.platform, **options))  # type: ignore[arg-type]
    return [each for each in found if not names or each.name in names]


def test_a_platform_where_all_is_well(world: Fake) -> None:
    checks = examine(world, accelerator=V5E)
    assert [(each.name, each.verdict) for each in checks] == [
        (name, Verdict.OK)
        for name in (
            *("profile", "APIs", "permissions", "bucket", "platform", "zones", "quota", "budget", "clock"),
            "leftovers",
        )
    ]
    assert not any(each.fixes for each in checks)
    assert "as ada@example.com" in checks[0].text


def test_all_that_is_missing_is_told_at_once_with_one_command_for_each_role(world: Fake) -> None:
    world.project.disabled = {"tpu.googleapis.com", "iap.googleapis.com"}
    world.project.missing = {need.permission for need in access.NEEDS}
    apis, permissions = examine(world, "APIs", "permissions")
    assert apis.verdict is permissions.verdict is Verdict.PROBLEM
    assert apis.fixes == ("gcloud services enable tpu.googleapis.com iap.googleapis.com --project project",)
    assert permissions.fixes == (
        f"gcloud projects add-iam-policy-binding project --role=roles/tpu.admin {ADA}",
        f"gcloud projects add-iam-policy-binding project --role=roles/iap.tunnelResourceAccessor {ADA}",
        f"gcloud iam service-accounts add-iam-policy-binding {ACCOUNT} --role=roles/iam.serviceAccountUser {ADA}",
        f"gcloud storage buckets add-iam-policy-binding gs://b --role=roles/storage.objectUser {ADA}",
        f"gcloud storage buckets add-iam-policy-binding gs://c --role=roles/storage.objectViewer {ADA}",
    )
    for need in access.NEEDS:
        assert need.permission in permissions.text
    assert "user:ada@example.com lacks tpu.nodes.create, tpu.nodes.get" in permissions.text


def test_only_what_the_profile_uses_is_needed(world: Fake) -> None:
    bare = fake(connect="external")
    bare.project.missing = {"iap.tunnelInstances.accessViaIAP", "iam.serviceAccounts.actAs"}
    bare.project.disabled = {"iap.googleapis.com"}
    assert access.find_missing(bare.platform) == access.Missing()
    proxied = dataclasses.replace(world.platform.profile, proxy_command="nc %h %p")
    world.platform.profile = proxied
    assert "iap.googleapis.com" not in access.services_of(world.platform)


@pytest.mark.parametrize(
    "email, member",
    [("ci@p.iam.gserviceaccount.com", "serviceAccount:ci@p.iam.gserviceaccount.com"), ("", "user:YOU")],
)
def test_the_command_names_who_is_to_get_the_role(world: Fake, email: str, member: str) -> None:
    world.project.email = email
    world.project.missing = {"tpu.nodes.get"}
    (permissions,) = examine(world, "permissions")
    assert permissions.fixes == (
        f"gcloud projects add-iam-policy-binding project --role=roles/tpu.admin --member={member}",
    )


def test_a_part_that_cannot_be_asked_hides_no_other(world: Fake) -> None:
    world.project.fail["missing_permissions"] = ApiDisabled("Cloud Resource Manager API is disabled")
    world.project.missing = {"storage.objects.list"}
    checks = examine(world, "access", "permissions", "APIs")
    assert [(each.name, each.verdict) for each in checks] == [
        ("permissions", Verdict.PROBLEM),
        ("access", Verdict.UNKNOWN),
    ]
    assert "storage.objects.list (jobs bucket)" in checks[0].text and "Resource Manager" in checks[1].text


def test_without_credentials_nothing_else_is_tried(world: Fake) -> None:
    world.project.fail["account"] = ConfigError("No usable Google credentials. Run: gcloud auth …")
    (check,) = examine(world)
    assert (check.name, check.verdict) == ("profile", Verdict.PROBLEM) and "gcloud auth" in check.text


def test_a_check_that_fails_does_not_end_the_others(world: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> object:
        raise NotFound("no bucket gs://b. Check the bucket")

    monkeypatch.setattr(world.store, "list", refuse)
    bucket, budget = examine(world, "bucket", "budget")
    assert (bucket.verdict, budget.verdict) == (Verdict.PROBLEM, Verdict.OK)
    assert "Check the bucket" in bucket.text


def test_what_was_told_as_missing_is_not_told_again(world: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> object:
        raise ApiDisabled("Cloud TPU API is disabled")

    monkeypatch.setattr(world.nodes, "list_accelerators", refuse)
    monkeypatch.setattr(world.nodes, "list_nodes", refuse)
    world.platform.profile = dataclasses.replace(world.platform.profile, zones=(ZONE, "us-central1-b"))
    assert [each.verdict for each in examine(world, "zones", "leftovers")] == [Verdict.PROBLEM] * 3
    world.project.disabled = {"tpu.googleapis.com"}
    zones, leftovers = examine(world, "zones", "leftovers")
    assert zones.verdict is leftovers.verdict is Verdict.UNKNOWN


def test_an_accelerator_that_is_nowhere_or_not_where_it_was_asked_for(
    world: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered = {ZONE: ["v5litepod-8"], "us-central1-b": ["v6e-1"]}
    monkeypatch.setattr(world.nodes, "list_accelerators", lambda zone: iter(offered[zone]))
    world.platform.profile = dataclasses.replace(world.platform.profile, zones=tuple(offered))
    (check,) = examine(world, "zones", accelerator=V5E)
    assert check.verdict is Verdict.OK and check.text == f"v5litepod-8 is offered in {ZONE}; not in us-central1-b"
    (check,) = examine(world, "zones", accelerator=V5E, zones=["us-central1-b"])
    assert check.verdict is Verdict.PROBLEM and "not offered in us-central1-b" in check.text
    assert check.fixes == ("gcloud compute tpus accelerator-types list --zone us-central1-b --project project",)
    (check,) = examine(world, "zones", accelerator=parse("v4-8"))
    assert check.verdict is Verdict.PROBLEM and f"not offered in {ZONE}, us-central1-b" in check.text
    (check,) = examine(world, "zones")
    assert check.verdict is Verdict.OK


def test_a_zone_that_is_none_is_told_and_the_others_are_looked_at(world: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    def offers(zone: str) -> object:
        if zone == "us-moon1-a":
            raise PermissionDenied("Permission denied on 'locations/us-moon1-a' (or it may not exist).")
        return iter(["v5litepod-8"])

    monkeypatch.setattr(world.nodes, "list_accelerators", offers)
    wrong, right = examine(world, "zones", zones=["us-moon1-a", ZONE])
    assert wrong.verdict is Verdict.PROBLEM and "us-moon1-a" in wrong.text
    assert (right.verdict, right.text) == (Verdict.OK, f"{ZONE} exist")


@pytest.mark.parametrize(
    "quotas, verdict, words",
    [
        ({"tpu-v5s-litepod": 8}, Verdict.OK, "8 on demand, none spot"),
        ({"tpu-v5s-litepod": -1}, Verdict.OK, "unlimited on demand"),
        ({"tpu-v5s-litepod": 0, "tpu-v5s-litepod-serving": 8}, Verdict.OK, "8 on demand"),
        ({"tpu-v5s-litepod": 0, "tpu-v5s-litepod-preemptible": 16}, Verdict.OK, "0 on demand, 16 spot"),
        ({"tpu-v5s-litepod": 0, "tpu-v6e": 64}, Verdict.PROBLEM, "0 on demand, none spot"),
        ({"tpu-v5s-litepod": 4}, Verdict.PROBLEM, "v5litepod-8 needs 8; us-central1-a: 4 on demand"),
        ({"tpu-v6e": 64}, Verdict.UNKNOWN, "no quota that begins with tpu-v5s-litepod"),
    ],
)
def test_quota(world: Fake, quotas: dict[str, int], verdict: Verdict, words: str) -> None:
    world.project.quotas = tuple(TpuQuota(name, limit) for name, limit in quotas.items())
    (check,) = examine(world, "quota", accelerator=V5E)
    assert check.verdict is verdict and words in check.text
    assert bool(check.fixes) is (verdict is Verdict.PROBLEM)


def test_quota_of_no_accelerator_in_particular(world: Fake) -> None:
    (check,) = examine(world, "quota")
    assert check.verdict is Verdict.OK
    world.project.quotas = (TpuQuota("tpu-v6e", 0),)
    (check,) = examine(world, "quota")
    assert check.verdict is Verdict.PROBLEM


def test_quotas_that_may_not_be_read_are_no_problem(world: Fake) -> None:
    world.project.fail["tpu_quotas"] = PermissionDenied("lacks serviceusage.quotas.get")
    (check,) = examine(world, "quota")
    assert check.verdict is Verdict.UNKNOWN and "serviceusage.quotas.get" in check.text


def test_a_frozen_platform(world: Fake) -> None:
    world.store.create(FREEZE, codec.encode(Freeze(0.0, "tpu", 12.0, 10.0, "USD", 0.0, "m", 0.0)))
    (check,) = examine(world, "budget")
    assert check.verdict is Verdict.PROBLEM and "'tpu' is used up" in check.text
    assert check.fixes == ("launcher unfreeze",)


@pytest.mark.parametrize(
    "off_s, simulated, verdict, words",
    [
        (-50, False, Verdict.OK, "at most 60 s"),
        (120, False, Verdict.PROBLEM, "120 s behind Google's"),
        (-120, False, Verdict.PROBLEM, "120 s ahead of Google's"),
        (120, True, Verdict.OK, "simulated time"),
    ],
)
def test_the_clock(
    world: Fake, monkeypatch: pytest.MonkeyPatch, off_s: int, simulated: bool, verdict: Verdict, words: str
) -> None:
    world.platform.profile = dataclasses.replace(world.platform.profile, simulated=simulated)
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.0)
    monkeypatch.setattr(world.store, "time", lambda: 1_700_000_000.0 + off_s)
    (check,) = examine(world, "clock")
    assert check.verdict is verdict and words in check.text
    assert bool(check.fixes) is (verdict is Verdict.PROBLEM)


@pytest.mark.parametrize("kind", [PermissionDenied, ApiDisabled])
def test_a_refused_call_tells_all_that_is_missing(world: Fake, kind: type[CloudError]) -> None:
    world.project.missing = {"tpu.nodes.create", "tpu.nodes.list", "storage.objects.list"}
    world.project.disabled = {"iap.googleapis.com"}
    told = doctor.explain(world.platform, kind("creating x: Google says: no"))
    assert type(told) is kind and str(told).startswith("creating x: Google says: no\n")
    for words in (
        "APIs that are not enabled: iap.googleapis.com.",
        "user:ada@example.com lacks: tpu.nodes.create, tpu.nodes.list (project); storage.objects.list (jobs bucket)",
        "\n  gcloud services enable iap.googleapis.com --project project\n",
        f"\n  gcloud projects add-iam-policy-binding project --role=roles/tpu.admin {ADA}\n",
        f"gs://b --role=roles/storage.objectUser {ADA}",
    ):
        assert words in str(told)


def test_what_the_error_itself_advised_is_not_said_twice(world: Fake) -> None:
    world.project.missing, world.project.disabled = {"tpu.nodes.create"}, {"tpu.googleapis.com"}
    bind = "gcloud projects add-iam-policy-binding project --role="
    lines = [
        f"a: no. user:YOU lacks tpu.nodes.create on project project. {GRANT}{bind}roles/viewer --member=user:YOU",
        f"b: off. {ENABLE}gcloud services enable tpu.googleapis.com --project project",
        f"c: no. user:YOU lacks other.things.get on project project. {GRANT}{bind}roles/other --member=user:YOU",
    ]
    told = doctor.explain(world.platform, PermissionDenied("\n".join(lines)))
    said = f"a: no. user:YOU lacks tpu.nodes.create on project project.\nb: off.\n{lines[2]}\nAPIs that are not"
    assert str(told).startswith(said)
    assert str(told).count(f"{bind}roles/tpu.admin") == str(told).count("gcloud services enable") == 1
    assert doctor.explain(world.platform, told) is told


@pytest.mark.parametrize(
    "error, broken",
    [
        (PermissionDenied("no"), {}),
        (OutOfCapacity("no"), {"missing": {"tpu.nodes.create"}}),
        (PermissionDenied("no"), {"fail": {"disabled_services": Unavailable("no network")}}),
        (PermissionDenied("no"), {"fail": dict.fromkeys(["disabled_services", "missing_permissions"], CloudError())}),
    ],
    ids=["nothing missing", "another error", "outage", "refused as well"],
)
def test_an_error_that_nothing_explains_stays_as_it_is(
    world: Fake, error: CloudError, broken: dict[str, object]
) -> None:
    vars(world.project).update(broken)
    assert doctor.explain(world.platform, error) is error


def test_an_outage_is_waited_for_only_once(world: Fake) -> None:
    world.project.fail["disabled_services"] = Unavailable("no network")
    world.project.missing = {"tpu.nodes.create"}
    assert access.find_missing(world.platform) == access.Missing(unknown=("no network",))
