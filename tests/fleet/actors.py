"""Who acts in a world: clients, workers, reapers and timers, each of which runs the launcher's own code.

An actor's script runs in a thread of its own, but only one thread runs at any time: `step` lets an actor make its next
call and returns when it is about to make the one after that.
"""

from __future__ import annotations

import builtins
import contextlib
import datetime
import email.message
import email.utils
import functools
import io
import json
import os
import re
import shlex
import threading
import time
import types
import urllib.error
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from unittest import mock

from launcher.agent import clock as agent_clock
from launcher.agent import lease as agent_lease
from launcher.agent.control import Timing
from launcher.agent.lease import WorkerLease
from launcher.agent.rest import Unreachable
from launcher.cloud.seams import NodeSpec
from launcher.errors import CloudError, LauncherError, Unavailable, WorkerLost
from launcher.fleet import inventory, lease_book, pool, reaper, removal
from launcher.fleet.agent_link import AgentFile
from launcher.fleet.lease_book import change
from launcher.fleet.release import release
from launcher.fleet.request import NodeRequest
from launcher.fleet.session import Session
from launcher.fleet.startup import startup_script
from launcher.records import paths
from launcher.records.leases import RENEW_S, LeaseRefused, reserve
from launcher.records.policy import PLATFORM_LABEL, PolicySettings
from tests.fleet.world import PLATFORM, START, Actor, Crashed, Order, Resource, World

ZONES = ("us-central1-a", "us-east5-b")
ACCELERATOR = "v5litepod-1"
STUCK_S = 5.0  # a step that takes longer than this, in real time, is a bug of these tests
TIMING = Timing()
POLICY = PolicySettings()
_acting = threading.local()  # .actor: whose script the thread runs


def serial(function: Callable[[Any], Any], items: Iterable[Any], most: int) -> Iterator[Any]:
    """In the place of `parallel`: does its work at once, in order, in the caller's thread."""
    done: list[tuple[Any, Exception | None]] = []
    for item in items:
        try:
            done.append((function(item), None))
        except Exception as exc:  # as there: whoever asks for the result gets it
            done.append((None, exc))
    for result, error in done:
        if error is not None:
            raise error
        yield result


@contextlib.contextmanager
def one_at_a_time(world: World) -> Iterator[None]:
    """Nothing of the launcher starts threads meanwhile, and every clock is the world's, or as wrong as its actor's."""
    real_time = time.time

    def time_of_day() -> float:
        actor = getattr(_acting, "actor", None)
        return real_time() if actor is None else actor.world.now + actor.skew_s

    def monotonic() -> float:
        return agent_clock.monotonic() if getattr(_acting, "actor", None) is None else world.now - START

    with contextlib.ExitStack() as stack:
        for module in (inventory, pool, reaper):
            stack.enter_context(mock.patch.object(module, "parallel", serial))
        # Threads that other tests left behind go on by the real clock.
        worker_clock = types.SimpleNamespace(monotonic=monotonic, wait=agent_clock.wait)
        stack.enter_context(mock.patch.object(agent_lease, "clock", worker_clock))
        stack.enter_context(mock.patch.object(time, "time", time_of_day))
        yield


class SteppedActor(Actor):
    """`calls`: what it is about to ask. `wakes_at`: until when it sleeps."""

    def __init__(self, world: World, name: str, *, skew_s: float = 0.0) -> None:
        super().__init__(world, name, zones=ZONES, skew_s=skew_s)
        self._thread: threading.Thread | None = None
        self._mine, self._theirs = threading.Lock(), threading.Lock()
        self._mine.acquire()
        self._theirs.acquire()
        self._order = Order.GO
        self._problem: BaseException | None = None
        self.ended = True
        self.crashed = False
        self.asks = ""
        self.wakes_at = 0.0

    @property
    def runnable(self) -> bool:
        return not self.ended and self.wakes_at <= self.world.now

    def start(self, script: Callable[[], object]) -> None:
        assert self.ended
        self.ended = self.crashed = False
        self._order = Order.GO
        self._thread = threading.Thread(target=self._play, args=(script,), name=self.name, daemon=True)
        self._thread.start()
        self._wait()

    def step(self, order: Order = Order.GO) -> None:
        """The next call, as `order` says."""
        self._order = order
        self._mine.release()
        self._wait()

    def finish(self) -> None:
        """To the end of a script that does not sleep, with nobody else between."""
        while not self.ended:
            self.step()

    def crash(self, order: Order = Order.CRASH) -> None:
        if not self.ended:
            self.step(order)

    def halt(self) -> None:
        """Its machine stops: it makes no call any more. Also while one of its own is under way."""
        self.crashed, self.wakes_at = True, 0.0

    def _wait(self) -> None:
        assert self._theirs.acquire(timeout=STUCK_S), f"{self.name} is stuck"
        if self._problem is not None:
            problem, self._problem = self._problem, None
            raise problem

    def _play(self, script: Callable[[], object]) -> None:
        _acting.actor = self
        try:
            script()
        except Crashed:
            pass
        except BaseException as exc:  # for the main thread
            self._problem = exc
        self.ended, self.wakes_at, self.asks = True, 0.0, ""
        self._theirs.release()

    def _pause(self) -> None:
        if self.crashed:
            raise Crashed
        self._theirs.release()
        self._mine.acquire()
        self.wakes_at = 0.0
        if self.crashed:
            raise Crashed
        if self._order in (Order.CRASH, Order.CRASH_AFTER):
            self.crashed = True

    def gate(self, kind: str, where: str) -> Order:
        self.asks = f"{kind} {where}"
        self._pause()
        return Order.FAIL if super().gate(kind, where) is Order.FAIL and not self.crashed else self._order

    def sleep(self, seconds: float) -> None:
        self.asks, self.wakes_at = "sleep", self.world.now + seconds
        self._pause()
        if self.crashed:
            raise Crashed


# --- a client -----------------------------------------------------------------------------------------------


class Client(SteppedActor):
    """One process of a user. `stays_s`: how long it stays connected after a job."""

    def __init__(self, world: World, name: str, host: Workers, *, skew_s: float = 0.0) -> None:
        super().__init__(world, name, skew_s=skew_s)
        self._host = host
        self._calls = 0
        self.holder = f"ada@{name}:1-00000000"
        self.zone = self.resource = ""  # what it has to release in the end
        self.worker: Worker | None = None
        self.job_s = self.stays_s = 0.0
        self.keep_warm_s = 900.0
        self.max_lifetime_s = 24 * 3600.0
        self.again = 0  # how many more jobs it runs
        self.gives_up = False

    def use_a_node(self) -> None:
        """One call, perhaps more of them on the same node; then the process ends."""
        try:
            session = self._session()
            self._run_job(session)
            while self.again > 0 and self._next(session):
                self.again -= 1
                self._run_job(session)
            if not self.keep_warm_s:
                self._give_up("its job ended")
        except (LauncherError, LeaseRefused):
            self._give_up("something failed")

    def _give_up(self, why: str) -> None:
        if not self.resource:
            return
        with contextlib.suppress(LauncherError, LeaseRefused):
            release(self.platform, self.zone, self.resource, by=self.holder, reason=why, timeout_s=0.0)

    def _request(self) -> NodeRequest:
        return NodeRequest(
            platform=PLATFORM,
            owner="ada",
            accelerator=ACCELERATOR,
            hosts=1,
            runtime_version="r",
            zones=ZONES,
            resource_id=lambda number: f"{PLATFORM}-{self.name}-{self._calls}-{number}",
            job=f"ada/{self.name}/{self._calls}",
            need_s=60.0,
            keep_warm_s=self.keep_warm_s,
            max_lifetime_s=self.max_lifetime_s,
        )

    def _session(self) -> Session:
        self._calls += 1
        self.resource = ""
        request = self._request()
        taken = pool.find_warm(self.platform, request, self.holder)
        if taken is not None:
            self.resource, self.zone = taken.lease.resource, taken.lease.zone
            session = Session(self.platform, AgentFile("0" * 64, b""), taken.lease, taken.node, "ada")
        else:
            session = self._create(request)
        session.hold(self.holder, created=session.node.create_time)
        return session

    def _create(self, request: NodeRequest) -> Session:
        self.zone = ZONES[self._calls % len(ZONES)]
        self.resource = request.resource_id(1)
        lease = reserve(
            resource=self.resource,
            zone=self.zone,
            platform=PLATFORM,
            owner="ada",
            holder=self.holder,
            accelerator=ACCELERATOR,
            spot=False,
            runtime_version="r",
            keep_warm_s=request.keep_warm_s,
            max_lifetime_s=request.max_lifetime_s,
        )
        lease_book.create(self.platform.store, lease)
        self.platform.nodes.create_queued_resource(
            self.zone, node_spec(self.resource, self.zone, max_lifetime_s=request.max_lifetime_s)
        )
        while True:
            self.sleep(RENEW_S)
            change(self.platform.store, self.zone, self.resource, lambda it, _: it.renew(self.holder))
            found = self.platform.nodes.get_queued_resource(self.zone, self.resource)
            if found is None or found.state not in ("ACCEPTED", "WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"):
                raise WorkerLost("it will never be there")
            node = self.platform.nodes.get_node(self.zone, found.nodes[0])
            if node is not None and node.state == "READY":
                return Session(self.platform, AgentFile("0" * 64, b""), lease, node, "ada")

    def _run_job(self, session: Session) -> None:
        """One job: hands the lease over where the worker has not got it, and waits for the end."""
        if session.token:
            self.worker = self._host.begin(self, session.token)
            session.token = ""
        else:
            assert self.worker is not None
            self.worker.next_job(self.job_s)
        while self.worker.busy and not self.worker.crashed:
            self.sleep(10.0)
            if self.gives_up:
                raise WorkerLost("Ctrl-C, or the connection is lost for good")
        if not self.worker.ran:
            raise WorkerLost(f"the worker was lost: {self.worker.problem}")
        session.holding = self.worker.holds

    def _next(self, session: Session) -> bool:
        self.sleep(self.stays_s)
        assert self.worker is not None
        if self.worker.ended:
            return not self.worker.crashed and session.take_again(self.holder, "")
        return self.worker.holds

    @property
    def connected(self) -> bool:
        return not self.ended


def node_spec(
    resource: str, zone: str, *, max_lifetime_s: float = 24 * 3600.0, valid_for_s: float = 3600.0
) -> NodeSpec:
    script = startup_script(
        project="project",
        zone=zone,
        queued_resource=resource,
        bucket="bucket",
        platform=PLATFORM,
        owner="ada",
        storage_endpoint="http://storage",
        tpu_endpoint="http://tpu",
        max_lifetime_s=max_lifetime_s,
    )
    return NodeSpec(
        queued_resource=resource,
        node=paths.node_id(resource),
        accelerator=ACCELERATOR,
        runtime_version="r",
        labels={PLATFORM_LABEL: PLATFORM, "launcher-owner": "ada"},
        metadata={"startup-script": script},
        valid_for_s=valid_for_s,
    )


# --- worker 0 -----------------------------------------------------------------------------------------------


class Runner:
    """The process that runs user code. It goes on without an agent, until the machine stops."""

    def __init__(self, agent: Worker, holder: str) -> None:
        self._agent = agent
        self.holder = holder

    @property
    def agent_lives(self) -> bool:
        return not self._agent.crashed


class AgentBucket:
    """The bucket as the agent reaches it, with the agent's errors."""

    def __init__(self, actor: Actor) -> None:
        self._actor = actor
        self.rest = self

    def read(self, name: str) -> Any:
        return self._call(self._actor.platform.store.read, name)

    def create(self, name: str, data: bytes) -> Any:
        return self._call(self._actor.platform.store.create, name, data)

    def replace(self, name: str, data: bytes, generation: int) -> Any:
        return self._call(self._actor.platform.store.replace, name, data, generation)

    def send(self, method: str, url: str, **_: object) -> None:
        assert method == "DELETE"
        zone, resource = queued_resource_of(url)
        self._call(self._actor.platform.nodes.delete_queued_resource, zone, resource)

    @staticmethod
    def _call(ask: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return ask(*arguments)
        except CloudError as exc:
            raise Unreachable(str(exc)) from exc


class Worker(SteppedActor):
    """The agent on one node, for one holder: its lease, and the runner of the attempt that it has."""

    def __init__(self, world: World, resource: Resource, client: Client, token: str) -> None:
        super().__init__(world, f"worker of {resource.name} for {client.name}")
        self._client = client
        self.holder = client.holder
        self.resource = resource
        self.runner: Runner | None = None
        self.busy, self.ran, self.holds = True, False, False
        self.problem = ""
        self._keep_warm_s = client.keep_warm_s
        self._ends_at = world.now + client.job_s
        self._bucket: Any = AgentBucket(self)
        job = types.SimpleNamespace(owner="ada", job_id=client.name, keep_warm_s=client.keep_warm_s)
        spec: Any = types.SimpleNamespace(
            job=job,
            attempt=1,
            zone=resource.zone,
            queued_resource=resource.name,
            project="project",
            tpu_endpoint="http://tpu",
            holder=client.holder,
            lease_token=token,
        )
        self._lease = WorkerLease(spec)

    def next_job(self, job_s: float) -> None:
        self.busy, self.ran = True, False
        self._ends_at = self.world.now + job_s

    def serve(self) -> None:
        try:
            self._lease.take_over(self._bucket)
            self.holds = True
            while self.busy:
                self._attempt()
                self._rest()
            self._lease.let_go(self._bucket, "its job ended", warm=bool(self._keep_warm_s), sure=True)
        except (LeaseRefused, Unreachable) as exc:
            self.problem = str(exc)
        finally:
            self._stop_runner()
            self.busy = self.holds = False

    def _attempt(self) -> None:
        self.runner = Runner(self, self._client.holder)
        self.resource.runners.append(self.runner)
        assert len(self.resource.runners) == 1, f"two run user code on {self.resource.name} at the same time"
        self._watch()
        while self.world.now < self._ends_at and self.runner is not None:
            self.sleep(min(RENEW_S, self._ends_at - self.world.now))
            self._renew(running=True)
        self.ran = self.runner is not None
        self._stop_runner()
        self.busy = False

    def _rest(self) -> None:
        """As long as the client is there it may have another job."""
        until = self.world.now + TIMING.session_hold_s
        while not self.busy and self._client.connected and self.world.now < until:
            self.sleep(2.0)

    def _renew(self, *, running: bool) -> None:
        with contextlib.suppress(Unreachable):  # the next round tries again
            self._lease.renew(self._bucket, running=running)

    def _watch(self) -> None:
        """A thread of its own in the agent: no request that hangs delays it."""
        if self.runner is None or not self.runner.agent_lives or self._lease.holding is None:
            return
        stop_at = START + self._lease.holding.stop_at(TIMING)
        if self.world.now >= stop_at:
            self._stop_runner()
        else:
            self.world.at(min(stop_at, self.world.now + RENEW_S), self._watch)

    def _stop_runner(self) -> None:
        runner, self.runner = self.runner, None
        if runner is not None and not self.crashed and runner in self.resource.runners:
            self.resource.runners.remove(runner)


class Workers:
    """Starts agents on nodes."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.all: list[Worker] = []

    def begin(self, client: Client, token: str) -> Worker:
        resource = self.world.resources.get((client.zone, client.resource))
        if resource is None or not resource.usable:
            raise WorkerLost("it cannot be reached")
        worker = Worker(self.world, resource, client, token)
        self.all.append(worker)
        # Sent over SSH: it begins when the worker gets to run.
        worker.start(lambda: (worker.sleep(0.0), worker.serve()))
        return worker


# --- those who clean up -------------------------------------------------------------------------------------


def reap(actor: Actor, **more: Any) -> reaper.Report:
    return reaper.reap(actor.platform, POLICY, log=lambda entry: None, **more)


def take_down(actor: Actor, resource: str) -> None:
    """A person: `launcher nodes down NAME --force`."""
    with contextlib.suppress(LauncherError, LeaseRefused):
        removal.delete_node(actor.platform, resource, force=True, cancel_job=lambda job: None, tell=lambda line: None)


def run_timer(actor: Actor, resource: Resource) -> None:
    """One round of the timer in the node's startup script: the very text that a node is given."""
    code, config = _timer(resource.spec.metadata["startup-script"])
    network = _Network(actor)
    urllib_ = types.SimpleNamespace(error=urllib.error, parse=urllib.parse, request=network)
    no_alarm = types.SimpleNamespace(SIGALRM=None, signal=lambda *_: None, alarm=lambda *_: None)
    replaced = {
        "sys": types.SimpleNamespace(argv=["-c", config, str(int(resource.booted - START))]),
        "time": types.SimpleNamespace(monotonic=lambda: actor.world.now - START),
        "signal": no_alarm,
        "os": types.SimpleNamespace(environ={}, urandom=os.urandom),
        "urllib": urllib_,
    }

    def import_(name: str, *arguments: Any) -> Any:
        return replaced.get(name.partition(".")[0]) or __import__(name, *arguments)

    with contextlib.suppress(OSError):  # an outage: it will try again
        exec(code, {"__name__": "__main__", "__builtins__": {**vars(builtins), "__import__": import_}})


@functools.lru_cache(maxsize=4096)
def _timer(script: str) -> tuple[types.CodeType, str]:
    found = re.search(r"<<'END_OF_TIMER'\n(.*?)\nEND_OF_TIMER\n.*?\nconfig=('.*?')\n", script, re.DOTALL)
    assert found is not None, "the startup script has another shape"
    return _compiled(found[1]), shlex.split(found[2])[0]


@functools.cache
def _compiled(text: str) -> types.CodeType:
    return compile(text, "timer", "exec")


class _Network:
    """urllib.request of a timer: leads to the world as its actor reaches it."""

    def __init__(self, actor: Actor) -> None:
        self._actor = actor

    @staticmethod
    def Request(url: str, body: bytes | None, headers: dict[str, str], method: str) -> tuple[str, bytes | None, str]:
        return url, body, method

    def urlopen(self, request: tuple[str, bytes | None, str], timeout: float) -> Any:
        url, body, method = request
        try:
            data = self._answer(url, body, method)
        except Unavailable as exc:
            raise urllib.error.URLError(str(exc)) from exc
        answer = io.BytesIO(data)
        answer.headers = {"Date": email.utils.formatdate(self._actor.world.now, usegmt=True)}  # type: ignore[attr-defined]
        return contextlib.closing(answer)

    def _answer(self, url: str, body: bytes | None, method: str) -> bytes:
        parts = urllib.parse.urlsplit(url)
        query = dict(urllib.parse.parse_qsl(parts.query))
        if parts.path.endswith("/token"):
            return b'{"access_token": "t"}'
        if method == "DELETE":
            self._actor.platform.nodes.delete_queued_resource(*queued_resource_of(url))
            return b"{}"
        store = self._actor.platform.store
        if method == "POST":
            assert body is not None
            if store.replace(query["name"], body, int(query["ifGenerationMatch"])) is None:
                raise _http_error(412)
            return b"{}"
        stored = store.read(urllib.parse.unquote(parts.path.rpartition("/o/")[2]))
        if stored is None or query.get("generation", str(stored.generation)) != str(stored.generation):
            raise _http_error(404)
        if query.get("alt") == "media":
            return stored.data
        moment = datetime.datetime.fromtimestamp(stored.updated, datetime.UTC).isoformat()
        return json.dumps({"generation": str(stored.generation), "updated": moment}).encode()


def queued_resource_of(url: str) -> tuple[str, str]:
    found = re.search(r"/locations/([^/]+)/queuedResources/([^/?]+)\?force=true", url)
    assert found is not None
    return found[1], found[2]


def _http_error(code: int) -> urllib.error.HTTPError:
    return urllib.error.HTTPError("http://storage", code, "refused", email.message.Message(), None)
