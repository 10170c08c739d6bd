"""What every handler of a simulated service works with: the backend, one call, and the tables' rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from launcher.sim.clock import Clock, timestamp
from launcher.sim.faults import Faults
from launcher.sim.http import GoogleError
from launcher.sim.services.store import Store
from launcher.sim.state import Body

COMPUTE = "compute.googleapis.com"
#: Stands in stored bodies for the simulator's own address, which a restart may change.
SIMULATOR = "http://SIMULATOR"


@dataclass(frozen=True)
class Backend:
    """The tables, the time and the faults of one simulated project."""

    store: Store
    clock: Clock
    faults: Faults
    project: str

    def now(self) -> str:
        return timestamp(self.clock.now())


@dataclass(frozen=True)
class Kind:
    """One collection of resources.

    `path`: its place below the version, `*` for any segment. `id_in`: what of a create names the resource: "?" and
    a query parameter, a field of the body, "PUT" for the path itself, "" where the server numbers it, None where
    nobody can create one. `wrapped`: the field of a create's body that holds the resource. `required`: fields
    without which there is none. `ids`: the pattern of its id. `fill`: the resource with what the server adds, made
    at every write; raises GoogleError. `refers`: fields that name another resource of Compute Engine, which must be
    there. `policy`: the method of getIamPolicy, "" where it has no policy. `actions`: custom verbs, or a method that
    does something else. `shown`: what a reader sees of it. `changed`: called after "create" and "delete".
    `listed`: its field in lists, by default the last part of `path`. `permission`: what IAM calls it. `missing` and
    `taken`: words of its own instead of its service's.
    """

    path: str
    fill: Callable[[Call, Body], Body]
    id_in: str | None = ""
    ids: str = r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?"
    wrapped: str = ""
    required: tuple[str, ...] = ()
    refers: tuple[str, ...] = ()
    policy: str = ""
    actions: Mapping[str, Callable[[Call], Body | Awaitable[Body]]] = field(default_factory=dict)
    shown: Callable[[Call, Body], Body] = lambda call, body: body
    changed: Callable[[Call, str], None] = lambda call, verb: None
    listed: str = ""
    permission: str = ""
    missing: str = ""
    taken: str = ""

    @property
    def leaf(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Service:
    """One API. `versions`: the start of a path -> the kinds below it. `operation` makes the answer of the verbs in
    `long`. `missing`, `taken`: Google's words of 404 and 409 about {name} and {id}, the latter also {parent}."""

    host: str
    title: str
    versions: Mapping[str, tuple[Kind, ...]]
    operation: Callable[[Call, str, Body | None], Body] | None = None
    long: tuple[str, ...] = ("create", "update", "delete")
    missing: str = "Resource '{name}' was not found"
    taken: str = "Resource '{name}' already exists"


@dataclass
class Call:
    """One request about a kind's resource, or with `id` None about the collection; `parent` is the path before it."""

    backend: Backend
    service: Service
    kind: Kind
    method: str
    parent: str
    id: str | None
    action: str
    query: Mapping[str, str]
    body: Body

    @property
    def store(self) -> Store:
        return self.backend.store

    @property
    def collection(self) -> str:
        return f"{self.parent}/{self.kind.leaf}"

    @property
    def name(self) -> str:
        """The resource's full name, with the project's id in it."""
        return f"{self.collection}/{self.id}"

    @property
    def key(self) -> str:
        return f"{self.service.host}/{self.name}"

    @property
    def location(self) -> str:
        """The region or zone that the path names."""
        return self.parent.split("/")[3]

    def existing(self) -> Body:
        """The resource as it is stored; 404 where there is none."""
        if (found := self.store.resources.get(self.key)) is None:
            raise missing(self.service, self.name, self.kind.missing)
        return found

    def taken(self) -> GoogleError:
        """Google's 409."""
        words = (self.kind.taken or self.service.taken).format(name=self.name, id=self.id, parent=self.parent)
        return GoogleError(409, words, "ALREADY_EXISTS", reason="alreadyExists")


def missing(service: Service, name: str, words: str = "") -> GoogleError:
    """Google's 404, in the service's words or other ones."""
    message = (words or service.missing).format(name=name, id=name.rpartition("/")[2])
    return GoogleError(404, message, reason="notFound")


def invalid(message: str = "Request contains an invalid argument.") -> GoogleError:
    """Google's 400."""
    return GoogleError(400, message, reason="badRequest")


def digest(body: Body) -> str:
    """A short hash of a resource, for its etag."""
    content = json.dumps({**body, "etag": None, "fingerprint": None}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def addressed(body: Any, base_url: str) -> Any:
    """`body` with the simulator's own address where SIMULATOR stands."""
    return json.loads(json.dumps(body).replace(SIMULATOR, base_url))
