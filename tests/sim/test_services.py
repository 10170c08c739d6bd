"""The strict resource store: what every service of the simulated control plane does alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import NotFound
from google.auth.credentials import AnonymousCredentials
from google.cloud import compute_v1

from launcher.sim import control
from tests.sim.services_fixtures import (
    BUILD,
    CLUSTERS,
    COMPUTE,
    FUNCTIONS,
    IAM,
    JOBS,
    NUMBERED,
    PROJECT,
    PUBSUB,
    REGION,
    SECRETS,
    Api,
    serving,
)
from tests.sim.tpu_fixtures import simulator

REPOSITORIES = f"/artifactregistry.googleapis.com/v1/{REGION}/repositories"
METRICS = f"/logging.googleapis.com/v2/{PROJECT}/metrics"
ALERTS = f"/monitoring.googleapis.com/v3/{PROJECT}/alertPolicies"
CHANNELS = f"/monitoring.googleapis.com/v3/{PROJECT}/notificationChannels"
BUDGETS = "/billingbudgets.googleapis.com/v1/billingAccounts/000000-000000-000000/budgets"
USAGE = f"/serviceusage.googleapis.com/v1/{PROJECT}/services"
HTTP = {"uri": "https://x-abc-uc.a.run.app"}
CHANNEL = {"type": "email", "labels": {"email_address": "a@example.com"}}
#: A collection: how one called {0} is created, with which body, and where it is then.
KINDS: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "repository": ("POST", f"{REPOSITORIES}?repository_id={{0}}", {"format": "DOCKER"}, f"{REPOSITORIES}/{{0}}"),
    "function": ("POST", f"{FUNCTIONS}?functionId={{0}}", {"buildConfig": BUILD}, f"{FUNCTIONS}/{{0}}"),
    "job": (
        "POST",
        JOBS,
        {"name": f"{REGION}/jobs/{{0}}", "schedule": "* * * * *", "httpTarget": HTTP},
        f"{JOBS}/{{0}}",
    ),
    "network": ("POST", f"{COMPUTE}/global/networks", {"name": "{0}"}, f"{COMPUTE}/global/networks/{{0}}"),
    "cluster": ("POST", CLUSTERS, {"cluster": {"name": "{0}"}}, f"{CLUSTERS}/{{0}}"),
    "role": ("POST", f"{IAM}/roles", {"roleId": "{0}", "role": {"title": "t"}}, f"{IAM}/roles/{{0}}"),
    "account": (
        "POST",
        f"{IAM}/serviceAccounts",
        {"accountId": "{0}", "serviceAccount": {}},
        f"{IAM}/serviceAccounts/{{0}}@simulated-project.iam.gserviceaccount.com",
    ),
    "metric": ("POST", METRICS, {"name": "{0}", "filter": "f"}, f"{METRICS}/{{0}}"),
    "topic": ("PUT", f"{PUBSUB}/topics/{{0}}", {}, f"{PUBSUB}/topics/{{0}}"),
    "secret": ("POST", f"{SECRETS}?secretId={{0}}", {"replication": {"automatic": {}}}, f"{SECRETS}/{{0}}"),
}
#: The same where the server gives the number.
NUMBERED_KINDS = {
    "alert": (ALERTS, {"combiner": "OR", "conditions": [{"displayName": "c"}]}),
    "budget": (BUDGETS, {"amount": {"specifiedAmount": {"units": "5"}}}),
    "channel": (CHANNELS, CHANNEL),
    "dashboard": (f"/monitoring.googleapis.com/v1/{PROJECT}/dashboards", {"displayName": "d"}),
}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("services") / "sim") as found:
        yield found


def create(kind: str, name: str) -> tuple[str, str, Any]:
    """Method, path and body that create one called `name`."""
    method, path, body, _ = KINDS[kind]

    def put(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: put(each) for key, each in value.items()}
        return value.replace("{0}", name) if isinstance(value, str) else value

    return method, path.replace("{0}", quote(name)), put(body)


def place(kind: str, name: str) -> str:
    return KINDS[kind][3].replace("{0}", name)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_made_can_be_read_and_is_not_made_twice_and_goes(api: Api, kind: str) -> None:
    name = f"strict-{kind}".replace("-", "_") if kind == "role" else f"strict-{kind}"
    assert api.refused("GET", place(kind, name))[:2] == (404, "NOT_FOUND")
    assert api.refused("DELETE", place(kind, name))[:2] == (404, "NOT_FOUND")
    api.ok(*create(kind, name))
    first = api.ok("GET", place(kind, name))
    assert name in first["name"]
    assert api.refused(*create(kind, name))[:2] == (409, "ALREADY_EXISTS")
    assert api.ok("GET", place(kind, name)) == first
    api.ok("DELETE", place(kind, name))
    if kind == "role":  # for a week it can be had back
        assert api.ok("GET", place(kind, name))["deleted"] is True
    else:
        assert api.refused("GET", place(kind, name))[:2] == (404, "NOT_FOUND")


@pytest.mark.parametrize("kind", NUMBERED_KINDS)
def test_what_the_server_numbers_is_another_one_each_time(api: Api, kind: str) -> None:
    path, body = NUMBERED_KINDS[kind]
    one, other = (api.ok("POST", path, body)["name"].rpartition("/")[2] for _ in range(2))
    assert one != other and one.isdecimal()
    api.ok("DELETE", f"{path}/{one}")
    assert api.refused("GET", f"{path}/{one}")[:2] == (404, "NOT_FOUND")
    assert api.ok("GET", f"{path}/{other}")["name"].endswith(other)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["", "b\u00e4d", "a b", "x" * 600])
def test_a_name_that_no_resource_can_have_is_refused(api: Api, kind: str, name: str) -> None:
    assert api.refused(*create(kind, name))[0] in (400, 404)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (f"{REPOSITORIES}?repository_id=lacking", {}, "format"),
        (f"{FUNCTIONS}?functionId=lacking", {}, "buildConfig"),
        (f"{SECRETS}?secretId=lacking", {}, "replication"),
        (f"{COMPUTE}/global/firewalls", {"name": "lacking"}, "network"),
        (METRICS, {"name": "lacking"}, "filter"),
        (BUDGETS, {"displayName": "lacking"}, "amount"),
    ],
)
def test_a_field_that_must_be_there_is_named(api: Api, path: str, body: object, field: str) -> None:
    assert api.refused("POST", path, body) == (400, "INVALID_ARGUMENT", f"Required field '{field}' is not set.")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nosuch.googleapis.com/v1/projects/simulated-project", 404),
        ("GET", f"/secretmanager.googleapis.com/v9/{PROJECT}/secrets", 404),
        ("GET", f"/secretmanager.googleapis.com/v1/{PROJECT}/mysteries", 404),
        ("POST", f"{SECRETS}/x:explode", 404),
        ("PATCH", f"{PUBSUB}/topics", 404),
        ("GET", "/nothing/at/all", 404),
        ("GET", "/secretmanager.googleapis.com/v1/projects/another/secrets", 403),
        ("GET", f"/artifactregistry.googleapis.com/v1/{PROJECT}/locations/Mars/repositories", 403),
        ("GET", "/billingbudgets.googleapis.com/v1/billingAccounts/mine/budgets", 404),
        ("POST", f"{SECRETS}/never:addVersion", 404),
        ("POST", f"{CLUSTERS}/never/nodePools", 404),
        ("GET", f"{CLUSTERS}/never/nodePools", 404),
    ],
)
def test_what_is_nowhere_is_told_in_googles_form(api: Api, method: str, path: str, status: int) -> None:
    body = {"nodePool": {"name": "p"}} if method == "POST" else None
    assert api.refused(method, path, body)[0] == status


@pytest.mark.parametrize("body", ["{", "[1]", '"x"'])
def test_a_body_that_is_no_object_is_refused(api: Api, body: str) -> None:
    assert api.refused("POST", f"{SECRETS}?secretId=x", body)[:2] == (400, "INVALID_ARGUMENT")


def test_update_mask_says_what_changes(api: Api) -> None:
    sent = {"replication": {"automatic": {}}, "labels": {"a": "1"}, "annotations": {"b": "2"}, "ttl": "1s"}
    made = api.ok("POST", f"{SECRETS}?secretId=masked", sent)
    change = {"labels": {"c": "3"}, "annotations": {"d": "4"}}
    changed = api.ok("PATCH", f"{SECRETS}/masked?updateMask=labels,ttl", change)
    assert changed["labels"] == {"c": "3"} and "ttl" not in changed
    assert changed["annotations"] == {"b": "2"} and changed["createTime"] == made["createTime"]
    assert changed["etag"] != made["etag"] and api.ok("GET", f"{SECRETS}/masked") == changed
    assert api.refused("PATCH", f"{SECRETS}/masked?updateMask=name", {"name": "x"})[:2] == (400, "INVALID_ARGUMENT")
    assert api.refused("PATCH", f"{SECRETS}/never?updateMask=labels", change)[:2] == (404, "NOT_FOUND")


def test_update_mask_in_the_body_and_into_a_field(api: Api) -> None:
    email = api.account("masked-account")
    wrapped = {"serviceAccount": {"displayName": "new", "description": "no"}, "updateMask": "displayName"}
    changed = api.ok("PATCH", f"{IAM}/serviceAccounts/{email}", wrapped)
    assert changed["displayName"] == "new" and "description" not in changed
    path = f"{FUNCTIONS}?functionId=masked"
    api.ok("POST", path, {"buildConfig": BUILD, "serviceConfig": {"timeoutSeconds": 60, "availableMemory": "256Mi"}})
    mask = "serviceConfig.timeout_seconds,service_config.environment_variables"
    body = {"serviceConfig": {"environmentVariables": {"A": "b"}}}
    config = api.ok("PATCH", f"{FUNCTIONS}/masked?updateMask={mask}", body)["response"]["serviceConfig"]
    assert config["environmentVariables"] == {"A": "b"} and config["availableMemory"] == "256Mi"
    assert "timeoutSeconds" not in config and config["revision"] == "masked-00002"


def test_without_a_mask_what_is_sent_replaces_and_the_rest_stays(api: Api) -> None:
    body = {"schedule": "* * * * *", "httpTarget": HTTP, "name": f"{REGION}/jobs/unmasked", "description": "d"}
    api.ok("POST", JOBS, body)
    changed = api.ok("PATCH", f"{JOBS}/unmasked", {"schedule": "1 * * * *", "name": "another"})
    assert (changed["schedule"], changed["description"]) == ("1 * * * *", "d")
    assert changed["name"] == f"{REGION}/jobs/unmasked" and changed["httpTarget"] == HTTP


def test_compute_merges_a_patch_and_knows_a_stale_fingerprint(api: Api) -> None:
    path = f"{COMPUTE}/global/networks"
    api.ok("POST", path, {"name": "merged", "routingConfig": {"routingMode": "REGIONAL"}})
    before = api.ok("GET", f"{path}/merged")
    api.ok("PATCH", f"{path}/merged", {"routingConfig": {"bgpInterRegionCost": "DEFAULT"}})
    after = api.ok("GET", f"{path}/merged")
    assert after["routingConfig"]["routingMode"] == "REGIONAL" and after["fingerprint"] != before["fingerprint"]
    stale = {"description": "x", "fingerprint": before["fingerprint"]}
    assert api.refused("PATCH", f"{path}/merged", stale) == (412, "FAILED_PRECONDITION", "Invalid fingerprint.")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("global/firewalls", {"name": "x", "network": "{}/global/networks/never"}),
        (
            "regions/us-central1/routers",
            {"name": "x", "network": "http://127.0.0.1/compute/v1/{}/global/networks/never"},
        ),
        ("regions/us-central1/subnetworks", {"name": "x", "network": "{}/global/networks/never", "ipCidrRange": "x"}),
    ],
)
def test_a_network_that_is_referred_to_must_be_there(api: Api, path: str, body: dict[str, str]) -> None:
    sent = {key: value.replace("{}", PROJECT) for key, value in body.items()}
    code, _, message = api.refused("POST", f"{COMPUTE}/{path}", sent)
    assert code == 404 and message == f"The resource '{PROJECT}/global/networks/never' was not found"


def test_a_network_goes_after_what_is_in_it(api: Api) -> None:
    network = f"{PROJECT}/global/networks/used"
    api.ok("POST", f"{COMPUTE}/global/networks", {"name": "used"})
    subnets = f"{COMPUTE}/regions/us-central1/subnetworks"
    bad = {"name": "part", "network": network, "ipCidrRange": "10.0.0.1/20"}
    assert api.refused("POST", subnets, bad)[:2] == (400, "INVALID_ARGUMENT")
    api.ok("POST", subnets, {**bad, "ipCidrRange": "10.0.16.0/20"})
    assert api.ok("GET", f"{subnets}/part")["gatewayAddress"] == "10.0.16.1"
    code, _, message = api.refused("DELETE", f"{COMPUTE}/global/networks/used")
    assert code == 400 and "is already being used by" in message
    api.ok("DELETE", f"{subnets}/part")
    api.ok("DELETE", f"{COMPUTE}/global/networks/used")


def test_a_notification_channel_goes_after_its_policies_or_by_force(api: Api) -> None:
    channel = api.ok("POST", CHANNELS, CHANNEL)["name"]
    api.ok("POST", ALERTS, {"combiner": "OR", "conditions": [{"displayName": "c"}], "notificationChannels": [channel]})
    path = f"/monitoring.googleapis.com/v3/{channel}"
    assert api.refused("DELETE", f"{path}?force=false")[:2] == (400, "FAILED_PRECONDITION")
    api.ok("DELETE", f"{path}?force=true")


def test_a_budget_gets_no_default_that_was_not_sent(api: Api) -> None:
    made = api.ok("POST", BUDGETS, {"amount": {"specifiedAmount": {"units": "5"}}, "budgetFilter": {"projects": []}})
    assert made["budgetFilter"] == {"projects": [], "calendarPeriod": "MONTH"} and "ownershipScope" not in made


def test_lists_come_in_pages(api: Api) -> None:
    for number in range(5):
        api.ok("PUT", f"{PUBSUB}/topics/paged-{number}", {})
        api.ok("POST", f"{COMPUTE}/regions/europe-west4/addresses", {"name": f"paged-{number}"})
    expected = [f"{PROJECT}/topics/paged-{number}" for number in range(5)]
    assert [name for name in pages(api, f"{PUBSUB}/topics", "pageSize", "topics") if "/paged-" in name] == expected
    path = f"{COMPUTE}/regions/europe-west4/addresses"
    assert pages(api, path, "maxResults", "items") == [f"paged-{number}" for number in range(5)]
    everywhere = f"/cloudscheduler.googleapis.com/v1/{PROJECT}/locations/-/jobs"
    assert api.ok("GET", everywhere) == api.ok("GET", JOBS)
    assert api.refused("GET", f"{PUBSUB}/topics?pageSize=-1")[:2] == (400, "INVALID_ARGUMENT")
    assert api.refused("GET", f"{PUBSUB}/topics?filter=x")[0] == 501


def pages(api: Api, path: str, size: str, listed: str) -> list[str]:
    found: list[str] = []
    token = ""
    while True:
        answer = api.ok("GET", f"{path}?{size}=2&pageToken={token}")
        assert 0 < len(answer[listed]) <= 2
        found += [each["name"] for each in answer[listed]]
        if not (token := answer.get("nextPageToken", "")):
            return found


def test_operations_can_be_asked_about(api: Api) -> None:
    long = api.ok("POST", f"{REPOSITORIES}?repository_id=asked", {"format": "PYTHON"})
    assert long["done"] and api.ok("GET", f"/artifactregistry.googleapis.com/v1/{long['name']}") == long
    made = api.ok("POST", f"{COMPUTE}/global/networks", {"name": "asked"})
    path = f"{COMPUTE}/global/operations/{made['name']}"
    assert api.ok("GET", path) == made and api.ok("POST", f"{path}/wait") == made
    assert made["selfLink"] == api.status["tpu"] + path
    cluster = api.ok("POST", CLUSTERS, {"cluster": {"name": "asked"}})
    assert api.ok("GET", f"/container.googleapis.com/v1/{REGION}/operations/{cluster['name']}") == cluster
    assert api.refused("GET", f"{COMPUTE}/global/operations/never")[0] == 404


def test_google_compute_client_makes_a_network(api: Api) -> None:
    options = ClientOptions(api_endpoint=f"{api.status['tpu']}/compute.googleapis.com")
    with compute_v1.NetworksClient(client_options=options, credentials=AnonymousCredentials()) as client:
        wanted = compute_v1.Network(name="by-library", auto_create_subnetworks=False, mtu=8896)
        client.insert(project="simulated-project", network_resource=wanted)
        assert client.get(project="simulated-project", network="by-library").mtu == 8896
        assert "by-library" in {each.name for each in client.list(project="simulated-project")}
        client.delete(project="simulated-project", network="by-library")
        with pytest.raises(NotFound, match="global/networks/by-library' was not found"):
            client.get(project="simulated-project", network="by-library")


def test_the_project_is_known_by_id_and_by_number(api: Api) -> None:
    manager = "/cloudresourcemanager.googleapis.com"
    for path in (f"{manager}/v1/{PROJECT}", f"{manager}/v1/{NUMBERED}", f"/v1/{PROJECT}"):
        project = api.ok("GET", path)
        assert project["projectNumber"] == "123456789" and project["projectId"] == "simulated-project"
    assert api.ok("GET", f"{manager}/v3/{PROJECT}")["name"] == NUMBERED
    billing = api.ok("GET", f"/cloudbilling.googleapis.com/v1/{PROJECT}/billingInfo")
    assert billing["billingEnabled"] and billing["billingAccountName"] == "billingAccounts/000000-000000-000000"
    assert api.refused("GET", f"{manager}/v1/projects/another")[:2] == (403, "PERMISSION_DENIED")
    api.ok("POST", f"{SECRETS}?secretId=numbered", {"replication": {"automatic": {}}})
    numbered = api.ok("GET", f"{SECRETS}/numbered".replace(PROJECT, NUMBERED))
    assert numbered == api.ok("GET", f"{SECRETS}/numbered") and numbered["name"] == f"{NUMBERED}/secrets/numbered"


def test_services_are_enabled_and_listed_in_that_order(api: Api) -> None:
    fields = "fields=services%2Fname%2CnextPageToken&filter=state%3AENABLED&pageSize=200"
    done = api.ok("POST", f"{USAGE}:batchEnable", {"serviceIds": ["iap.googleapis.com", "logging.googleapis.com"]})
    assert done == {"name": "operations/noop.DONE_OPERATION", "done": True, "response": {}}
    listed = [each["name"] for each in api.ok("GET", f"{USAGE}?alt=json&{fields}")["services"]]
    assert listed[-2:] == [f"{NUMBERED}/services/iap.googleapis.com", f"{NUMBERED}/services/logging.googleapis.com"]
    api.ok("POST", f"{USAGE}/iap.googleapis.com:disable", {})
    assert api.ok("GET", f"{USAGE}/iap.googleapis.com")["state"] == "DISABLED"
    api.ok("POST", f"{USAGE}/iap.googleapis.com:enable", {})
    at_root = f"/v1/{PROJECT}/services:batchGet?names={PROJECT}/services/iap.googleapis.com"
    assert [each["state"] for each in api.ok("GET", at_root)["services"]] == ["ENABLED"]
    assert api.refused("POST", f"{USAGE}:batchEnable", {"serviceIds": ["nonsense"]})[:2] == (403, "PERMISSION_DENIED")
    assert api.refused("POST", f"{USAGE}:batchEnable", {"serviceIds": []})[0] == 400


def test_a_role_that_was_deleted_can_be_had_back(api: Api) -> None:
    body = {"roleId": "had_back", "role": {"title": "t", "includedPermissions": ["tpu.nodes.get"]}}
    made = api.ok("POST", f"{IAM}/roles", body)
    assert api.ok("DELETE", f"{IAM}/roles/had_back") == {**made, "deleted": True}
    assert "had_back" not in str(api.ok("GET", f"{IAM}/roles"))
    assert api.ok("POST", f"{IAM}/roles/had_back:undelete", {}) == made
    assert api.refused("POST", f"{IAM}/roles/had_back:undelete", {})[:2] == (400, "FAILED_PRECONDITION")


def test_faults_strike_under_a_host_as_they_do_at_the_root(api: Api, tmp_path: Path) -> None:
    folder = Path(api.status["state_dir"])
    control.inject("disabled-api", value="secretmanager.googleapis.com", folder=folder)
    code, status, message = api.refused("GET", SECRETS)
    assert (code, status) == (403, "PERMISSION_DENIED") and "Secret Manager API has not been used" in message
    control.inject("disabled-api", off=True, folder=folder)
    control.inject("missing-permission", value="pubsub.topics.create", folder=folder)
    code, _, message = api.refused("PUT", f"{PUBSUB}/topics/denied", {})
    assert code == 403 and "'pubsub.topics.create' denied" in message
    control.inject("missing-permission", off=True, folder=folder)
    control.inject("zone-down", zone="us-west4-a", folder=folder)
    for host in ("", "/tpu.googleapis.com"):
        assert api.refused("GET", f"{host}/v2/{PROJECT}/locations/us-west4-a/nodes")[:2] == (503, "UNAVAILABLE")
    control.inject("zone-down", off=True, folder=folder)
    for host in ("", "/storage.googleapis.com"):
        control.inject("gcs-503", folder=folder)
        assert api.ask("GET", f"{host}/storage/v1/b/simulated-jobs")[0] == 503
    control.inject("page-size", value="1", folder=folder)
    api.ok("PUT", f"{PUBSUB}/topics/one-page", {})
    api.ok("PUT", f"{PUBSUB}/topics/another-page", {})
    assert len(api.ok("GET", f"{PUBSUB}/topics")["topics"]) == 1
    control.inject("page-size", off=True, folder=folder)


def test_env_has_an_endpoint_of_each_product_that_terraform_knows(api: Api) -> None:
    variables = control.env(Path(api.status["state_dir"]), terraform=True)
    suffix = "_CUSTOM_ENDPOINT"
    products = {name[7 : -len(suffix)]: url for name, url in variables.items() if name.endswith(suffix)}
    assert " ".join(sorted(products)) == (
        "ARTIFACT_REGISTRY BILLING_BUDGETS CLOUDFUNCTIONS2 CLOUD_BILLING CLOUD_RUN_V2 CLOUD_SCHEDULER COMPUTE "
        "CONTAINER IAM IAM_BETA LOGGING MONITORING PUBSUB RESOURCE_MANAGER RESOURCE_MANAGER_V3 SECRET_MANAGER "
        "SERVICE_USAGE STORAGE TPU_V2"
    )
    assert variables["GOOGLE_PROJECT"] == "simulated-project" and variables["GOOGLE_OAUTH_ACCESS_TOKEN"]
    for product, path in {
        "COMPUTE": f"{PROJECT}/global/networks",
        "MONITORING": f"v3/{PROJECT}/alertPolicies",
        "RESOURCE_MANAGER_V3": PROJECT,
        "STORAGE": "b/simulated-jobs",
        "TPU_V2": f"{PROJECT}/locations/us-west4-a/nodes",
    }.items():
        api.ok("GET", products[product].removeprefix(api.status["tpu"]) + path)


def test_a_service_that_nobody_enabled_refuses_and_state_survives_a_restart(tmp_path: Path) -> None:
    with simulator(tmp_path / "sim") as status:
        api = Api(status)
        code, answer = api.ask("GET", f"{COMPUTE}/global/networks")
        assert code == 403 and answer["error"]["details"][1]["reason"] == "SERVICE_DISABLED"
        assert "Compute Engine API has not been used in project 123456789 before" in answer["error"]["message"]
        api.ok("POST", f"{USAGE}/compute.googleapis.com:enable", {})
        api.ok("POST", f"{COMPUTE}/global/networks", {"name": "kept"})
        link = api.ok("GET", f"{COMPUTE}/global/networks/kept")["selfLink"]
        assert link == f"{status['tpu']}{COMPUTE}/global/networks/kept"
        policy = {"bindings": [{"role": "roles/viewer", "members": ["user:a@example.com"]}]}
        manager = f"/cloudresourcemanager.googleapis.com/v1/{PROJECT}"
        kept = api.ok("POST", f"{manager}:setIamPolicy", {"policy": policy})
        control.stop(tmp_path / "sim")
        again = Api(control.start(tmp_path / "sim").status)
        link = again.ok("GET", f"{COMPUTE}/global/networks/kept")["selfLink"]
        assert link == f"{again.status['tpu']}{COMPUTE}/global/networks/kept"
        assert again.ok("POST", f"{manager}:getIamPolicy", {}) == kept
