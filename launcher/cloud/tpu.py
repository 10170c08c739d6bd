"""The Cloud TPU API v2 over REST: queued resources, nodes, guest attributes."""

from __future__ import annotations

import contextlib
import datetime
import functools
import math
import uuid
from collections.abc import Iterator
from typing import Any

from launcher.cloud import credentials as _credentials
from launcher.cloud.retry import Call, Deadline, classify_failure, with_retries
from launcher.cloud.seams import Clock, Endpoint, GuestAttributes, Node, NodeSpec, QueuedResource, SystemClock
from launcher.errors import NotFound, Unavailable

_REQUEST_TIMEOUT_S = 30.0
_PATIENCE_S = 60.0  # for which one call is repeated while the API is unavailable
_UPDATE_TIMEOUT_S = 300.0


class CloudTpu:
    """A NodeService. Thread-safe; google's libraries are imported at the first call."""

    def __init__(
        self,
        project: str,
        endpoint: str = "https://tpu.googleapis.com",
        *,
        credentials: str = "default",
        clock: Clock | None = None,
    ) -> None:
        self.project = project
        self.endpoint = endpoint.rstrip("/")
        self._credentials_kind = credentials
        self._clock = clock or SystemClock()
        self._operations: dict[tuple[str, str], str] = {}  # (zone, queued resource) -> its create operation

    def create_queued_resource(self, zone: str, spec: NodeSpec) -> None:
        from google.cloud import tpu_v2

        # The same request_id in every repetition: Google then takes a repeated create for the first one.
        request = tpu_v2.CreateQueuedResourceRequest(
            parent=self._parent(zone),
            queued_resource_id=spec.queued_resource,
            queued_resource=_queued_resource_message(self._parent(zone), spec),
            request_id=str(uuid.uuid4()),
        )
        about = self._about(f"creating {spec.queued_resource}", zone, "tpu.nodes.create", capacity=True)
        operation = self._ask(about, "create_queued_resource", request)
        self._operations[zone, spec.queued_resource] = operation.operation.name

    def get_queued_resource(self, zone: str, queued_resource: str) -> QueuedResource | None:
        request = {"name": f"{self._parent(zone)}/queuedResources/{queued_resource}"}
        about = self._about(f"reading {queued_resource}", zone, "tpu.nodes.get")
        found = self._find(about, "get_queued_resource", request)
        result = None if found is None else _to_queued_resource(found)
        if result is None or (result.state == "FAILED" and not result.error_code):
            code, reason = self._create_failure(zone, queued_resource)
            if code:  # a stock-out can be told by the create operation alone
                return QueuedResource(queued_resource, "FAILED", reason, code)
        return result

    def list_queued_resources(self, zone: str) -> Iterator[QueuedResource]:
        about = self._about("listing queued resources", zone, "tpu.nodes.list")
        for page in self._pages(about, "list_queued_resources", zone):
            yield from map(_to_queued_resource, page.queued_resources)

    def delete_queued_resource(self, zone: str, queued_resource: str) -> None:
        self._operations.pop((zone, queued_resource), None)
        name = f"{self._parent(zone)}/queuedResources/{queued_resource}"
        request = {"name": name, "force": True, "request_id": str(uuid.uuid4())}
        about = self._about(f"deleting {queued_resource}", zone, "tpu.nodes.delete")
        self._delete(about, "delete_queued_resource", request)

    def get_node(self, zone: str, node: str) -> Node | None:
        about = self._about(f"reading node {node}", zone, "tpu.nodes.get")
        found = self._find(about, "get_node", {"name": f"{self._parent(zone)}/nodes/{node}"})
        return None if found is None else _to_node(found)

    def list_nodes(self, zone: str) -> Iterator[Node]:
        about = self._about("listing nodes", zone, "tpu.nodes.list")
        for page in self._pages(about, "list_nodes", zone):
            yield from map(_to_node, page.nodes)

    def delete_node(self, zone: str, node: str) -> None:
        about = self._about(f"deleting node {node}", zone, "tpu.nodes.delete")
        self._delete(about, "delete_node", {"name": f"{self._parent(zone)}/nodes/{node}"})

    def list_accelerators(self, zone: str) -> Iterator[str]:
        about = self._about("listing accelerator types", zone, "tpu.acceleratortypes.list")
        for page in self._pages(about, "list_accelerator_types", zone):
            yield from (each.type_ for each in page.accelerator_types)

    def set_metadata(self, zone: str, node: str, metadata: dict[str, str]) -> None:
        from google.cloud import tpu_v2

        name = f"{self._parent(zone)}/nodes/{node}"
        message = tpu_v2.Node(name=name, metadata=metadata)
        request = tpu_v2.UpdateNodeRequest(node=message, update_mask={"paths": ["metadata"]})
        about = self._about(f"updating the metadata of {node}", zone, "tpu.nodes.update")
        asked = self._ask(about, "update_node", request).operation.name
        deadline, pause_s = Deadline(self._clock, _UPDATE_TIMEOUT_S), 0.05
        about = self._about(f"updating the metadata of {node}", zone, "tpu.operations.get")
        while not (operation := self._ask(about, "get_operation", {"name": asked})).done:
            if deadline.expired:
                raise Unavailable(f"{about.action}: Google has not done it after {_UPDATE_TIMEOUT_S:g} s.")
            self._clock.wait(pause_s)
            pause_s = min(2 * pause_s, 5.0)
        if operation.error.code:
            kind = classify_failure(operation.error.code, operation.error.message)
            raise kind(f"{about.action}: Google says: {operation.error.message}")

    def guest_attributes(self, zone: str, node: str) -> tuple[GuestAttributes, ...]:
        about = self._about(f"reading guest attributes of {node}", zone, "tpu.nodes.get")
        # 404: nothing was published yet (or there is no such node, which get_node tells).
        answer = self._find(about, "get_guest_attributes", {"name": f"{self._parent(zone)}/nodes/{node}"})
        return () if answer is None else tuple(map(_to_guest_attributes, answer.guest_attributes))

    @functools.cached_property
    def _client(self) -> Any:
        # Any types inside errors are decoded by name: their module must be known to protobuf.
        from google.cloud import tpu_v2
        from google.cloud.tpu_v2.services.tpu.transports import TpuRestTransport
        from google.rpc import error_details_pb2  # type: ignore[import-untyped]  # noqa: F401  # generated

        credentials = _credentials.load(self._credentials_kind)
        transport = TpuRestTransport(host=self.endpoint, credentials=credentials)
        transport._session.trust_env = self.endpoint.startswith("https:")  # no proxy leads to a simulator
        return tpu_v2.TpuClient(transport=transport)

    def _create_failure(self, zone: str, queued_resource: str) -> tuple[int, str]:
        """Code and text of the error that this process's create operation ended with; 0 where none did."""
        name = self._operations.get((zone, queued_resource))
        if name is None:
            return 0, ""
        about = self._about(f"reading the operation that creates {queued_resource}", zone, "tpu.operations.get")
        operation = self._find(about, "get_operation", {"name": name})
        if operation is None or not operation.done:
            return 0, ""
        return int(operation.error.code), str(operation.error.message)

    def _pages(self, about: Call, method: str, zone: str) -> Iterator[Any]:
        token = ""
        while True:
            request = {"parent": self._parent(zone), "page_size": 100, "page_token": token}
            # A pager holds its first page already; later pages are asked for here, so that each is retried.
            page = next(iter(self._ask(about, method, request).pages))
            if page.unreachable:
                raise Unavailable(f"{about.action}: Google could not look in {', '.join(page.unreachable)}.")
            yield page
            token = page.next_page_token
            if not token:
                return

    def _delete(self, about: Call, method: str, request: dict[str, Any]) -> None:
        from google.api_core.exceptions import Conflict

        def delete() -> None:
            # 409 "unable to queue the operation": a deletion is under way. Whoever wants it gone looks and asks again.
            with contextlib.suppress(Conflict):
                getattr(self._client, method)(request, retry=None, timeout=_REQUEST_TIMEOUT_S)

        with contextlib.suppress(NotFound):
            with_retries(delete, about, clock=self._clock, deadline=Deadline(self._clock, _PATIENCE_S))

    def _ask(self, about: Call, method: str, request: Any) -> Any:
        return with_retries(
            lambda: getattr(self._client, method)(request, retry=None, timeout=_REQUEST_TIMEOUT_S),
            about,
            clock=self._clock,
            deadline=Deadline(self._clock, _PATIENCE_S),
        )

    def _find(self, about: Call, method: str, request: Any) -> Any:
        """As `_ask`; None on 404."""
        try:
            return self._ask(about, method, request)
        except NotFound:
            return None

    def _parent(self, zone: str) -> str:
        return f"projects/{self.project}/locations/{zone}"

    def _about(self, action: str, zone: str, permission: str, *, capacity: bool = False) -> Call:
        return Call(
            action=f"{action} in {zone}",
            resource=f"project {self.project}",
            project=self.project,
            service="tpu.googleapis.com",
            permission=permission,
            member=_credentials.member(_credentials.load(self._credentials_kind)),
            grant=f"gcloud projects add-iam-policy-binding {self.project} --role=roles/tpu.admin --member={{member}}",
            missing=f"Check the zone's name: gcloud compute tpus locations list --project {self.project}",
            capacity=capacity,
        )


def _queued_resource_message(parent: str, spec: NodeSpec) -> Any:
    from google.cloud import tpu_v2

    network = tpu_v2.NetworkConfig(
        network=spec.network, subnetwork=spec.subnetwork, enable_external_ips=spec.external_ip
    )
    node = tpu_v2.Node(
        accelerator_type=spec.accelerator,
        runtime_version=spec.runtime_version,
        labels=spec.labels,
        metadata=spec.metadata,
        network_config=network,
    )
    if spec.service_account:
        node.service_account = tpu_v2.ServiceAccount(
            email=spec.service_account, scope=["https://www.googleapis.com/auth/cloud-platform"]
        )
    tpu = tpu_v2.QueuedResource.Tpu(
        node_spec=[tpu_v2.QueuedResource.Tpu.NodeSpec(parent=parent, node_id=spec.node, node=node)]
    )
    message = tpu_v2.QueuedResource(tpu=tpu)
    if spec.spot:  # the node's own schedulingConfig must then be absent
        message.spot = tpu_v2.QueuedResource.Spot()
    if spec.reservation:
        full = "/" in spec.reservation
        message.reservation_name = spec.reservation if full else f"{parent}/reservations/{spec.reservation}"
        if not spec.spot:
            message.guaranteed = tpu_v2.QueuedResource.Guaranteed()
    if spec.valid_for_s is not None:
        message.queueing_policy = tpu_v2.QueuedResource.QueueingPolicy(
            valid_until_duration=datetime.timedelta(seconds=math.ceil(spec.valid_for_s))
        )
    return message


def _to_queued_resource(message: Any) -> QueuedResource:
    state = message.state
    failure = state.failed_data.error if "failed_data" in state else None
    reason = failure.message if failure is not None else ""
    if not reason and state.state.name.startswith("SUSPEND"):
        reason = f"{state.state.name.lower()} by the {state.state_initiator.name.lower()}"
    specs = list(message.tpu.node_spec)
    return QueuedResource(
        name=_short(message.name),
        state=state.state.name,
        reason=reason,
        error_code=failure.code if failure is not None else 0,
        nodes=tuple(spec.node_id for spec in specs if spec.node_id),
        labels=dict(specs[0].node.labels) if specs else {},
        create_time=_epoch_s(message.create_time),
        spot="spot" in message,
        reservation=message.reservation_name,
    )


def _to_node(message: Any) -> Node:
    return Node(
        name=_short(message.name),
        state=message.state.name,
        endpoints=tuple(
            Endpoint(endpoint.ip_address, endpoint.access_config.external_ip) for endpoint in message.network_endpoints
        ),
        accelerator=message.accelerator_type,
        metadata=dict(message.metadata),
        labels=dict(message.labels),
        create_time=_epoch_s(message.create_time),
        runtime_version=message.runtime_version,
        queued_resource=_short(message.queued_resource),
        spot=message.scheduling_config.spot or message.scheduling_config.preemptible,
    )


def _epoch_s(time: Any) -> float:
    return float(time.timestamp()) if time else 0.0


def _to_guest_attributes(message: Any) -> GuestAttributes:
    entries = [(entry.namespace, entry.key, entry.value) for entry in message.query_value.items]
    keys = {key: value.strip() for namespace, key, value in entries if namespace.strip("/") == "hostkeys"}
    hostname = next((value.strip() for _, key, value in entries if key == "hostname"), "")
    return GuestAttributes(keys, hostname)


def _short(name: str) -> str:
    return name.rpartition("/")[2]
