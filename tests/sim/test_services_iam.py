"""Who may do what, by the policies of every service that has some: read-modify-write with etags."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from google.api_core.exceptions import PreconditionFailed
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from tests.sim.services_fixtures import BUILD, FUNCTIONS, IAM, PROJECT, PUBSUB, REGION, SECRETS, Api, serving

REPOSITORIES = f"/artifactregistry.googleapis.com/v1/{REGION}/repositories"
RUN = f"/run.googleapis.com/v2/{REGION}/services"
THREADS, EACH = 6, 4


@dataclass(frozen=True)
class Guarded:
    """Something with a policy. `get`: the method that reads it."""

    path: str
    get: str
    role: str


GUARDED = {
    "project": Guarded(f"/cloudresourcemanager.googleapis.com/v1/{PROJECT}", "POST", "roles/viewer"),
    "repository": Guarded(f"{REPOSITORIES}/guarded", "GET", "roles/artifactregistry.reader"),
    "service": Guarded(f"{RUN}/guarded", "GET", "roles/run.invoker"),
    "topic": Guarded(f"{PUBSUB}/topics/guarded", "GET", "roles/pubsub.publisher"),
    "subscription": Guarded(f"{PUBSUB}/subscriptions/guarded", "GET", "roles/pubsub.subscriber"),
    "secret": Guarded(f"{SECRETS}/guarded", "GET", "roles/secretmanager.secretAccessor"),
    "account": Guarded(
        f"{IAM}/serviceAccounts/guarded@simulated-project.iam.gserviceaccount.com",
        "POST",
        "roles/iam.serviceAccountUser",
    ),
}
STORAGE = "/storage/v1/b/simulated-jobs/iam"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("iam") / "sim") as found:
        found.ok("POST", f"{REPOSITORIES}?repository_id=guarded", {"format": "DOCKER"})
        found.ok("POST", f"{FUNCTIONS}?functionId=guarded", {"buildConfig": BUILD})
        found.ok("PUT", f"{PUBSUB}/topics/guarded", {})
        found.ok("PUT", f"{PUBSUB}/subscriptions/guarded", {"topic": f"{PROJECT}/topics/guarded"})
        found.ok("POST", f"{SECRETS}?secretId=guarded", {"replication": {"automatic": {}}})
        found.account("guarded")
        yield found


def read(api: Api, of: Guarded) -> dict[str, Any]:
    body = {"options": {"requestedPolicyVersion": 3}} if of.get == "POST" else None
    return dict(api.ok(of.get, f"{of.path}:getIamPolicy", body))


def bound(role: str, *members: str) -> dict[str, Any]:
    return {"bindings": [{"role": role, "members": list(members)}], "version": 3}


@pytest.mark.parametrize("kind", GUARDED)
def test_a_policy_is_what_was_set_and_a_stale_one_is_refused(api: Api, kind: str) -> None:
    of = GUARDED[kind]
    first = read(api, of)
    wanted = bound(of.role, "user:ada@example.com")
    done = api.ok("POST", f"{of.path}:setIamPolicy", {"policy": {**wanted, "etag": first["etag"]}})
    assert done == {**wanted, "etag": done["etag"]} == read(api, of) and done["etag"] != first["etag"]
    stale = {**bound(of.role), "etag": first["etag"]}
    code, status, message = api.refused("POST", f"{of.path}:setIamPolicy", {"policy": stale})
    assert (code, status) == (409, "ABORTED") and message.startswith("There were concurrent policy changes.")
    assert read(api, of) == done
    emptied = api.ok("POST", f"{of.path}:setIamPolicy", {"policy": {"version": 3}})  # without an etag the last one wins
    assert "bindings" not in emptied and emptied == read(api, of)
    other = "GET" if of.get == "POST" else "POST"
    assert api.ask(other, f"{of.path}:getIamPolicy")[0] in (404, 405)


@pytest.mark.parametrize("kind", ["project", "bucket"])
def test_concurrent_changes_lose_no_update(api: Api, kind: str) -> None:
    of = GUARDED["project"]

    def get() -> dict[str, Any]:
        return read(api, of) if kind == "project" else dict(api.ok("GET", STORAGE))

    def put(policy: dict[str, Any]) -> int:
        if kind == "project":
            return api.ask("POST", f"{of.path}:setIamPolicy", {"policy": policy})[0]
        return api.ask("PUT", STORAGE, policy)[0]

    def add(member: str) -> int:
        """How often somebody else was faster."""
        for lost in itertools.count():
            policy = get()
            policy["bindings"][0]["members"].append(member)
            if (code := put(policy)) == 200:
                return lost
            assert code == (409 if kind == "project" else 412)
        raise AssertionError

    assert put(bound("roles/storage.objectUser")) == 200
    everybody = {f"user:u{number}@example.com" for number in range(THREADS * EACH)}
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(add, everybody))
    assert set(get()["bindings"][0]["members"]) == everybody


def test_an_update_mask_keeps_what_it_does_not_name(api: Api) -> None:
    api.ok("PUT", f"{PUBSUB}/topics/audited", {})
    path = f"{PUBSUB}/topics/audited:setIamPolicy"
    audit = {"auditConfigs": [{"service": "allServices", "auditLogConfigs": [{"logType": "DATA_READ"}]}]}
    ours = {"policy": {**bound("roles/viewer", "user:a@example.com"), **audit}}
    assert "auditConfigs" not in api.ok("POST", path, ours)
    assert api.ok("POST", path, {**ours, "updateMask": "bindings,etag,auditConfigs"})["auditConfigs"]
    kept = api.ok("POST", path, {"policy": bound("roles/viewer", "user:b@example.com")})
    assert kept["auditConfigs"] and kept["bindings"][0]["members"] == ["user:b@example.com"]


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (None, "A policy to update must be provided."),
        (bound("viewer", "user:a@example.com"), "Role viewer is not supported"),
        (bound("roles/viewer", "ada"), "The member ada is of an unknown type"),
        (bound("roles/viewer", "serviceAccount:never@simulated-project.iam.gserviceaccount.com"), "does not exist"),
        (bound(f"{PROJECT}/roles/never", "user:a@example.com"), r"Role (projects/simulated-project/roles/never) does"),
        ({"bindings": [{"role": "roles/viewer", "condition": {"title": "t"}}]}, "need a policy of version 3"),
        ({"bindings": "all"}, "invalid argument"),
    ],
)
def test_what_is_no_policy_is_refused(api: Api, policy: object, message: str) -> None:
    code, status, words = api.refused("POST", f"{GUARDED['project'].path}:setIamPolicy", {"policy": policy})
    assert (code, status) == (400, "INVALID_ARGUMENT") and message in words


def test_a_member_that_went_away_does_not_stand_in_the_way(api: Api) -> None:
    gone = api.account("soon-gone")
    of = GUARDED["topic"]
    api.ok("POST", f"{of.path}:setIamPolicy", {"policy": bound(of.role, f"serviceAccount:{gone}")})
    api.ok("DELETE", f"{IAM}/serviceAccounts/{gone}")
    policy = read(api, of)
    policy["bindings"][0]["members"].append("user:a@example.com")
    assert len(api.ok("POST", f"{of.path}:setIamPolicy", {"policy": policy})["bindings"][0]["members"]) == 2


def test_a_policy_goes_with_what_it_guards(api: Api) -> None:
    path = f"{PUBSUB}/topics/short-lived"
    api.ok("PUT", path, {})
    api.ok("POST", f"{path}:setIamPolicy", {"policy": bound("roles/pubsub.publisher", "user:a@example.com")})
    api.ok("DELETE", path)
    assert api.refused("GET", f"{path}:getIamPolicy")[0] == 404
    api.ok("PUT", path, {})
    assert api.ok("GET", f"{path}:getIamPolicy")["bindings"] == []


def test_permissions_are_tested_where_they_were_before(api: Api) -> None:
    asked = {"permissions": ["tpu.nodes.get"]}
    account = "/v1/projects/-/serviceAccounts/any@simulated-project.iam.gserviceaccount.com"
    for place in (f"/v1/{PROJECT}", f"/v3/{PROJECT}", account):
        assert api.ok("POST", f"{place}:testIamPermissions", asked) == asked
    for host in ("cloudresourcemanager.googleapis.com/v3", "cloudresourcemanager.googleapis.com/v1"):
        assert api.ok("POST", f"/{host}/{PROJECT}:testIamPermissions", asked) == asked
    assert api.ok("POST", f"{SECRETS}/guarded:testIamPermissions", {"permissions": ["secretmanager.versions.access"]})
    assert api.refused("POST", f"/v1/{PROJECT}:testIamPermissions", {"permissions": ["nonsense"]})[0] == 400


def test_a_bucket_refuses_a_stale_policy_in_its_own_words(api: Api) -> None:
    api.ok("POST", "/storage/v1/b?project=simulated-project", {"name": "fresh-policy"})
    path = "/storage/v1/b/fresh-policy/iam"
    first = api.ok("GET", f"{path}?alt=json&optionsRequestedPolicyVersion=3")
    assert first == {"kind": "storage#policy", "etag": "CAE=", "version": 1, "bindings": []}
    wanted = bound("roles/storage.objectUser", "user:ada@example.com")
    done = api.ok("PUT", f"{path}?alt=json", {**wanted, "etag": "CAE="})
    assert done == {**wanted, "etag": "CAI="} == api.ok("GET", path)
    code, answer = api.ask("PUT", path, {**wanted, "etag": "CAE="})
    assert code == 412 and answer["error"]["errors"][0]["reason"] == "conditionNotMet"
    assert api.ok("PUT", path, {"version": 3}) == {"version": 3, "etag": "CAM="}
    assert api.ask("PUT", path, bound("nonsense", "user:a@example.com"))[0] == 400
    assert api.ask("GET", "/storage/v1/b/never-made/iam")[0] == 404
    metageneration = api.ok("GET", "/storage/v1/b/fresh-policy")["metageneration"]
    assert metageneration == "1"  # a policy is no property of the bucket


def test_a_protected_bucket_is_not_opened_to_everybody(api: Api) -> None:
    protected = {"name": "protected", "iamConfiguration": {"publicAccessPrevention": "enforced"}}
    api.ok("POST", "/storage/v1/b?project=simulated-project", protected)
    code, answer = api.ask("PUT", "/storage/v1/b/protected/iam", bound("roles/storage.objectViewer", "allUsers"))
    assert code == 412 and "public access prevention is enforced" in answer["error"]["message"]


def test_google_storage_library_changes_a_bucket_policy(api: Api) -> None:
    options = {"api_endpoint": api.status["storage"]}
    with storage.Client(
        project="simulated-project", credentials=AnonymousCredentials(), client_options=options
    ) as client:
        assert client.get_service_account_email().endswith("@gs-project-accounts.iam.gserviceaccount.com")
        bucket = client.create_bucket("by-library")
        policy = bucket.get_iam_policy(requested_policy_version=3)
        policy.version = 3
        policy.bindings.append({"role": "roles/storage.objectUser", "members": {"user:ada@example.com"}})
        bucket.set_iam_policy(policy)
        found = bucket.get_iam_policy(requested_policy_version=3)
        assert found.bindings == [{"role": "roles/storage.objectUser", "members": {"user:ada@example.com"}}]
        with pytest.raises(PreconditionFailed):
            bucket.set_iam_policy(policy)  # its etag is the first one's
