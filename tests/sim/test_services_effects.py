"""What is behind the simulated services: calls with tokens, pushed messages, secrets, clusters."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sim.services_fixtures import (
    BUILD,
    CLUSTERS,
    FUNCTIONS,
    JOBS,
    NUMBERED,
    PROJECT,
    PUBSUB,
    REGION,
    SECRETS,
    Api,
    Target,
    body_of,
    serving,
    target,
)

RUN = f"/run.googleapis.com/v2/{REGION}/services"
VERSIONS = f"{SECRETS}/token/versions"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("effects") / "sim") as found:
        yield found


@pytest.fixture
def served(api: Api) -> Iterator[Target]:
    """A function at https://routed.a.run.app that no function in the simulator is behind."""
    with target() as found:
        api.ok("POST", "/_sim/route", {"uri": "https://routed.a.run.app", "url": found.url})
        yield found
        api.ok("POST", "/_sim/route", {"uri": "https://routed.a.run.app", "url": None})


def claims(asked: dict[str, Any]) -> dict[str, Any]:
    kind, _, token = asked["headers"]["Authorization"].partition(" ")
    header, payload, signature = token.split(".")
    assert kind == "Bearer" and signature == "SIGNATURE_REMOVED_BY_GOOGLE"
    assert json.loads(base64.urlsafe_b64decode(header + "=="))["typ"] == "JWT"
    return dict(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))))


def job(api: Api, name: str, uri: str, **fields: Any) -> str:
    """Its path."""
    http_target = {"uri": uri, "httpMethod": "POST", **fields}
    api.ok("POST", JOBS, {"name": f"{REGION}/jobs/{name}", "schedule": "*/5 * * * *", "httpTarget": http_target})
    return f"{JOBS}/{name}"


def test_a_job_that_is_run_calls_its_target_with_a_token(api: Api, served: Target) -> None:
    oidc = {"serviceAccountEmail": "caller@simulated-project.iam.gserviceaccount.com", "audience": "https://aud"}
    body = base64.b64encode(b'{"source": "scheduler"}').decode()
    headers = {"Content-Type": "application/json", "X-Mine": "1"}
    path = job(api, "calls", "https://routed.a.run.app/reap?a=1", body=body, headers=headers, oidcToken=oidc)
    assert api.ok("POST", f"{path}:run", {})["status"] == {}
    (asked,) = served.seen
    assert (asked["method"], asked["path"], body_of(asked)) == ("POST", "/reap?a=1", {"source": "scheduler"})
    assert asked["headers"]["X-Mine"] == "1" and asked["headers"]["X-CloudScheduler"] == "true"
    assert asked["headers"]["Host"] == "routed.a.run.app" and asked["headers"]["X-Forwarded-Proto"] == "https"
    told = claims(asked)
    assert (told["aud"], told["email"]) == ("https://aud", "caller@simulated-project.iam.gserviceaccount.com")
    assert told["email_verified"] is True and told["iss"] == "https://accounts.google.com"
    assert told["exp"] - told["iat"] == 3600 and told["exp"] > time.time()


def test_a_token_is_for_the_target_where_no_audience_was_given(api: Api, served: Target) -> None:
    oidc = {"serviceAccountEmail": "caller@simulated-project.iam.gserviceaccount.com"}
    path = job(api, "audience", "https://routed.a.run.app/x", oidcToken=oidc)
    api.ok("POST", f"{path}:run", {})
    assert claims(served.seen[0])["aud"] == "https://routed.a.run.app/x"


def test_a_job_says_how_its_last_run_went(api: Api) -> None:
    with target(500) as failing:
        api.ok("POST", "/_sim/route", {"uri": "https://failing.a.run.app", "url": failing.url})
        path = job(api, "fails", "https://failing.a.run.app")
        done = api.ok("POST", f"{path}:run", {})
    assert done["status"]["code"] == 13 and done["lastAttemptTime"] and len(failing.seen) == 1
    assert "Authorization" not in failing.seen[0]["headers"]
    assert api.ok("POST", f"{path}:run", {})["status"]["code"] == 14  # nobody is there any more
    nowhere = job(api, "nowhere", "https://example.com/outside")
    told = api.ok("POST", f"{nowhere}:run", {})["status"]
    assert told["code"] == 14 and "/_sim/route" in told["message"]
    assert api.refused("POST", f"{JOBS}/never:run", {})[0] == 404


def test_a_job_is_paused_and_resumed(api: Api) -> None:
    path = job(api, "paused", "https://routed.a.run.app")
    assert api.ok("POST", f"{path}:pause", {})["state"] == "PAUSED"
    assert api.ok("POST", f"{path}:resume", {})["state"] == api.ok("GET", path)["state"] == "ENABLED"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"httpTarget": None}, "exactly one target"),
        ({"pubsubTarget": {"topicName": "t"}}, "exactly one target"),
        ({"schedule": "often"}, "Schedule or time zone is invalid"),
    ],
)
def test_a_job_without_a_schedule_or_one_target_is_refused(api: Api, change: dict[str, Any], message: str) -> None:
    body = {
        "name": f"{REGION}/jobs/bad",
        "schedule": "* * * * *",
        "httpTarget": {"uri": "https://x.a.run.app"},
        **change,
    }
    sent = {key: value for key, value in body.items() if value is not None}
    code, _, words = api.refused("POST", JOBS, sent)
    assert code == 400 and message in words


def test_a_function_is_called_by_who_may_invoke_it_only(api: Api) -> None:
    made = api.ok("POST", f"{FUNCTIONS}?functionId=guarded", {"buildConfig": BUILD})["response"]
    uri, service = made["serviceConfig"]["uri"], made["serviceConfig"]["service"]
    assert uri == "https://guarded-abc-uc.a.run.app" and service == f"{REGION}/services/guarded"
    caller = api.account("calls-guarded")
    path = job(api, "guarded", uri, oidcToken={"serviceAccountEmail": caller, "audience": uri})
    with target() as function:
        api.ok("POST", "/_sim/route", {"uri": uri, "url": function.url})
        denied = api.ok("POST", f"{path}:run", {})["status"]
        assert denied["code"] == 7 and "roles/run.invoker" in denied["message"] and function.seen == []
        policy = {"bindings": [{"role": "roles/run.invoker", "members": [f"serviceAccount:{caller}"]}]}
        api.ok("POST", f"{RUN}/guarded:setIamPolicy", {"policy": policy})
        assert api.ok("POST", f"{path}:run", {})["status"] == {}
        assert claims(function.seen[0])["sub"].isdecimal()
    api.ok("DELETE", f"{FUNCTIONS}/guarded")
    assert api.refused("GET", f"{RUN}/guarded:getIamPolicy")[0] == 404


def test_a_message_is_pushed_to_who_subscribed(api: Api, served: Target) -> None:
    api.ok("PUT", f"{PUBSUB}/topics/budget", {})
    oidc = {"serviceAccountEmail": "push@simulated-project.iam.gserviceaccount.com"}
    push = {"pushEndpoint": "https://routed.a.run.app/", "oidcToken": oidc}
    topic = f"{PROJECT}/topics/budget"
    api.ok("PUT", f"{PUBSUB}/subscriptions/pushed", {"topic": topic, "pushConfig": push})
    api.ok("PUT", f"{PUBSUB}/subscriptions/pulled", {"topic": topic})
    data = base64.b64encode(b'{"costAmount": 5}').decode()
    messages = [{"data": data, "attributes": {"a": "b"}}, {"attributes": {"c": "d"}}]
    ids = api.ok("POST", f"{PUBSUB}/topics/budget:publish", {"messages": messages})["messageIds"]
    first, second = map(body_of, served.seen)
    assert [first["message"]["messageId"], second["message"]["messageId"]] == ids and ids[0] != ids[1]
    assert first["message"]["data"] == data and first["message"]["attributes"] == {"a": "b"}
    assert first["subscription"] == f"{PROJECT}/subscriptions/pushed" and first["message"]["publishTime"]
    told = claims(served.seen[0])
    assert (told["aud"], told["email"]) == ("https://routed.a.run.app/", oidc["serviceAccountEmail"])
    nothing: list[object] = [[], [{}], [{"data": "?"}], "x"]
    for bad in nothing:
        assert api.refused("POST", f"{PUBSUB}/topics/budget:publish", {"messages": bad})[0] == 400
    assert api.refused("POST", f"{PUBSUB}/topics/never:publish", {"messages": messages})[0] == 404
    api.ok("DELETE", f"{PUBSUB}/subscriptions/pushed")


def test_a_message_is_pushed_again_until_somebody_takes_it(api: Api) -> None:
    api.ok("PUT", f"{PUBSUB}/topics/again", {})
    with target(503, 503, 204) as late:
        body = {"topic": f"{PROJECT}/topics/again", "pushConfig": {"pushEndpoint": late.url}}
        api.ok("PUT", f"{PUBSUB}/subscriptions/again", body)
        api.ok("POST", f"{PUBSUB}/topics/again:publish", {"messages": [{"attributes": {"a": "b"}}]})
    ids = {body_of(asked)["message"]["messageId"] for asked in late.seen}
    assert len(late.seen) == 3 and len(ids) == 1


def test_a_job_can_publish_and_a_subscription_needs_its_topic(api: Api, served: Target) -> None:
    api.ok("PUT", f"{PUBSUB}/topics/ticks", {})
    push = {"pushEndpoint": "https://routed.a.run.app/ticks"}
    api.ok("PUT", f"{PUBSUB}/subscriptions/ticks", {"topic": f"{PROJECT}/topics/ticks", "pushConfig": push})
    body = {"name": f"{REGION}/jobs/ticks", "schedule": "* * * * *"}
    api.ok("POST", JOBS, {**body, "pubsubTarget": {"topicName": f"{PROJECT}/topics/ticks", "data": "aGk="}})
    assert api.ok("POST", f"{JOBS}/ticks:run", {})["status"] == {}
    assert body_of(served.seen[0])["message"]["data"] == "aGk="
    lost = {"topic": f"{PROJECT}/topics/never"}
    assert api.refused("PUT", f"{PUBSUB}/subscriptions/lost", lost) == (
        404,
        "NOT_FOUND",
        "Resource not found (resource=never).",
    )


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"uri": "https://x.a.run.app", "url": "http://example.com:80"},
        {"uri": "https://x.a.run.app", "url": "http://127.0.0.1:80@example.com"},
        {"uri": "ftp://x", "url": "http://127.0.0.1:1"},
    ],
)
def test_a_route_leads_to_this_machine_only(api: Api, body: object) -> None:
    assert api.refused("POST", "/_sim/route", body)[0] == 400


def test_a_secret_version_holds_its_data_until_it_is_destroyed(api: Api) -> None:
    api.ok("POST", f"{SECRETS}?secretId=token", {"replication": {"automatic": {}}})
    assert api.refused("GET", f"{VERSIONS}/latest:access")[0] == 404
    for number, word in ((1, b"one"), (2, b"two")):
        data = base64.b64encode(word).decode()
        made = api.ok("POST", f"{SECRETS}/token:addVersion", {"payload": {"data": data}})
        assert made["name"] == f"{NUMBERED}/secrets/token/versions/{number}" and made["state"] == "ENABLED"
    assert api.ok("GET", f"{VERSIONS}/latest:access")["payload"]["data"] == base64.b64encode(b"two").decode()
    by_number = f"{VERSIONS}/1:access".replace(PROJECT, NUMBERED)
    assert api.ok("GET", by_number)["payload"]["data"] == base64.b64encode(b"one").decode()
    assert [each["name"][-1] for each in api.ok("GET", VERSIONS)["versions"]] == ["1", "2"]
    assert api.ok("POST", f"{VERSIONS}/1:disable", {})["state"] == "DISABLED"
    code, status, message = api.refused("GET", f"{VERSIONS}/1:access")
    assert (code, status) == (400, "FAILED_PRECONDITION") and "is in DISABLED state" in message
    assert api.ok("POST", f"{VERSIONS}/1:enable", {})["state"] == "ENABLED"
    assert (
        api.ok("POST", f"{VERSIONS}/1:destroy", {})["state"] == api.ok("GET", f"{VERSIONS}/1")["state"] == "DESTROYED"
    )
    assert api.refused("POST", f"{VERSIONS}/1:enable", {})[:2] == (400, "FAILED_PRECONDITION")
    payloads = json.loads((Path(api.status["state_dir"]) / "services.json").read_text("utf-8"))["payloads"]
    assert [name for name in payloads if "/token/" in name] == [f"{PROJECT}/secrets/token/versions/2"]
    api.ok("DELETE", f"{SECRETS}/token")
    assert api.refused("GET", f"{VERSIONS}/2")[0] == 404


@pytest.mark.parametrize("payload", [None, {}, {"data": "?"}, {"data": ""}, {"data": "aGk=", "dataCrc32c": "1"}])
def test_a_secret_version_needs_data_that_arrived_whole(api: Api, payload: object) -> None:
    api.ask("POST", f"{SECRETS}?secretId=whole", {"replication": {"automatic": {}}})
    assert api.refused("POST", f"{SECRETS}/whole:addVersion", {"payload": payload})[0] == 400
    good = {"data": "aGk=", "dataCrc32c": str(0x8A2EBDBF)}
    code, answer = api.ask("POST", f"{SECRETS}/whole:addVersion", {"payload": good})
    assert (code, answer.get("clientSpecifiedPayloadChecksum")) in ((200, True), (400, None))


def cluster(api: Api, name: str, **fields: Any) -> str:
    """Its path."""
    endpoints = {"dnsEndpointConfig": {"allowExternalTraffic": True}}
    api.ok("POST", CLUSTERS, {"cluster": {"name": name, "controlPlaneEndpointsConfig": endpoints, **fields}})
    return f"{CLUSTERS}/{name}"


def test_a_cluster_has_a_pool_until_it_is_deleted(api: Api) -> None:
    path = cluster(api, "fresh", initialNodeCount=2)
    found = api.ok("GET", path)
    assert [pool["name"] for pool in found["nodePools"]] == ["default-pool"] and found["currentNodeCount"] == 2
    assert found["location"] == "us-central1" and found["locations"] == ["us-central1-a"]
    done = api.ok("DELETE", f"{path}/nodePools/default-pool")
    assert done["operationType"] == "DELETE_NODE_POOL" and done["status"] == "DONE"
    assert api.ok("GET", path)["nodePools"] == [] and "currentNodeCount" not in api.ok("GET", path)
    api.ok("DELETE", path)
    assert api.refused("GET", path) == (404, "NOT_FOUND", f"Not found: {REGION}/clusters/fresh.")


def test_a_cluster_of_one_zone_names_it(api: Api) -> None:
    """The provider takes it out of `locations`: what is left are the further zones."""
    clusters = CLUSTERS.replace("us-central1", "us-central1-b")
    api.ok("POST", clusters, {"cluster": {"name": "small"}})
    found = api.ok("GET", f"{clusters}/small")
    assert found["zone"] == found["location"] == "us-central1-b" and found["locations"] == ["us-central1-b"]
    groups = f"/compute.googleapis.com/compute/v1/{PROJECT}/zones/us-central1-b/instanceGroupManagers"
    listed = api.ok("GET", groups)["items"]  # as the provider learns how many nodes a pool has
    assert [each["selfLink"] for each in listed] == found["nodePools"][0]["instanceGroupUrls"]
    api.ok("DELETE", f"{clusters}/small")
    assert "items" not in api.ok("GET", groups)


def test_a_node_pool_has_a_size_in_each_of_its_zones(api: Api) -> None:
    path = cluster(api, "sized")
    zones = ["us-central1-a", "us-central1-b"]
    body = {"name": "tpu", "locations": zones, "autoscaling": {"enabled": True, "minNodeCount": 1, "maxNodeCount": 4}}
    api.ok("POST", f"{path}/nodePools", {"nodePool": body})
    pool = api.ok("GET", f"{path}/nodePools/tpu")
    groups = [url.removeprefix(api.status["tpu"]) for url in pool["instanceGroupUrls"]]
    assert [url.split("/")[7] for url in groups] == zones

    def sizes() -> list[int]:
        return [api.ok("GET", url)["targetSize"] for url in groups]

    assert sizes() == [1, 1]
    assert api.ok("POST", f"{path}/nodePools/tpu:setSize", {"nodeCount": 3})["operationType"] == "SET_NODE_POOL_SIZE"
    assert sizes() == [3, 3] and api.ok("GET", path)["currentNodeCount"] == 7
    off = {"autoscaling": {"enabled": True, "maxNodeCount": 0}}
    api.ok("POST", f"{path}/nodePools/tpu:setAutoscaling", off)
    assert api.ok("GET", f"{path}/nodePools/tpu")["autoscaling"] == off["autoscaling"] and sizes() == [3, 3]
    for bad in ({"nodeCount": -1}, {"nodeCount": "many"}):
        assert api.refused("POST", f"{path}/nodePools/tpu:setSize", bad)[0] == 400
    api.ok("DELETE", f"{path}/nodePools/tpu")
    assert [api.ask("GET", url)[0] for url in groups] == [404, 404]


def test_a_cluster_and_its_pools_are_changed(api: Api) -> None:
    path = cluster(api, "changed", nodePools=[{"name": "own", "initialNodeCount": 0}])
    assert [pool["name"] for pool in api.ok("GET", f"{path}/nodePools")["nodePools"]] == ["own"]
    update = {"update": {"desiredReleaseChannel": {"channel": "RAPID"}}}
    assert api.ok("PUT", path, update)["operationType"] == "UPDATE_CLUSTER"
    api.ok("POST", f"{path}:setResourceLabels", {"resourceLabels": {"a": "b"}})
    found = api.ok("GET", path)
    assert found["releaseChannel"] == {"channel": "RAPID"} and found["resourceLabels"] == {"a": "b"}
    api.ok("PUT", f"{path}/nodePools/own", {"labels": {"x": "y"}, "locations": ["us-central1-c"]})
    pool = api.ok("GET", f"{path}/nodePools/own")
    assert pool["config"]["labels"] == {"x": "y"} and pool["locations"] == ["us-central1-c"]
    assert api.refused("PUT", path, {})[0] == 400
    assert api.refused("POST", f"{path}:setResourceLabels", {})[0] == 400


def test_a_cluster_lists_the_pods_that_somebody_put_there(api: Api) -> None:
    path = cluster(api, "pods")
    config = api.ok("GET", path)["controlPlaneEndpointsConfig"]["dnsEndpointConfig"]
    assert config["endpoint"].startswith("gke-") and config["endpoint"].endswith(".us-central1.gke.goog")
    pods = f"/{config['endpoint']}/api/v1/pods"
    empty = {"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": []}
    assert api.ok("GET", pods) == empty
    there = [{"metadata": {"name": f"p{number}", "namespace": "default"}} for number in range(3)]
    for name in ("pods", f"{REGION}/clusters/pods"):
        api.ok("POST", "/_sim/pods", {"cluster": name, "pods": there})
    first = api.ok("GET", f"{pods}?limit=2")
    assert first["items"] == there[:2]
    assert api.ok("GET", f"{pods}?limit=2&continue={first['metadata']['continue']}")["items"] == there[2:]
    assert api.refused("POST", "/_sim/pods", {"cluster": "never", "pods": []})[0] == 404
    assert api.refused("POST", "/_sim/pods", {"cluster": "pods", "pods": "x"})[0] == 400
    assert api.refused("GET", "/gke-0-1.us-central1.gke.goog/api/v1/pods")[0] == 404
    assert api.refused("GET", f"{pods}?limit=x")[0] == 400
    closed = cluster(api, "closed", controlPlaneEndpointsConfig={"dnsEndpointConfig": {"allowExternalTraffic": False}})
    assert "endpoint" not in api.ok("GET", closed)["controlPlaneEndpointsConfig"]["dnsEndpointConfig"]
