"""One pass over the platform's GKE cluster: idle TPU pools are emptied; an idle cluster is deleted, where opted in.

What is idle is remembered in clusters.json in the control bucket, so that a later pass, of the function or of a
person, acts on it. Every action follows from a write of that record by compare-and-swap and from one more look right
after it: of two passes at once one wins, and a Pod that came meanwhile keeps its nodes. A dry run writes nothing, the
record neither, and says what this pass would do with the record that stands. So where every pass is a dry run, it says
each time that it would mark what is idle, and never that it would empty or delete it: nobody measured for how long.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from launcher.cloud.seams import ClusterService
from launcher.errors import ApiDisabled, CloudError, ConfigError, LauncherError, PermissionDenied
from launcher.fleet import job_records
from launcher.fleet.platform import Platform
from launcher.fleet.reap_log import Decision, Entry, Report, log_json
from launcher.records import codec
from launcher.records.clusters import (
    ClusterFacts,
    ClusterSettings,
    ClusterWatch,
    Idle,
    PodFacts,
    cluster_verdict,
    is_ours,
    pool_verdict,
)
from launcher.records.paths import CLUSTERS
from launcher.records.policy import PLATFORM_LABEL, Keep
from launcher.records.swap import swap

Pods = Sequence[PodFacts] | None  # None: they could not be listed


def reap_clusters(
    platform: Platform,
    cluster: str,
    settings: ClusterSettings,
    *,
    dry_run: bool = False,
    verbose: bool = False,
    log: Callable[[Entry], object] = log_json,
) -> Report:
    """One pass over `cluster` (location/name; ConfigError where it is not that). No error of a service is raised.

    As in reaper.reap, and besides delete there are: empty (a pool is set to size 0) and mark (it is idle, and was not
    when somebody last looked).
    """
    location, _, name = cluster.partition("/")
    if not location or not name or "/" in name:
        raise ConfigError(f"{cluster!r} names no GKE cluster: write it as location/name, such as us-central1-a/tpu.")
    one = _Pass(platform, location, name, settings, dry_run, verbose, log)
    try:
        one.run()
    except (LauncherError, RuntimeError) as exc:  # RuntimeError: as in reaper.reap
        one.fail(f"cluster {name} in {location} is left as it is: {exc}", exc)
    return Report(tuple(one.decisions), tuple(one.errors))


def reap_registered(platform: Platform, *, dry_run: bool = False, log: Callable[[Entry], object] = log_json) -> Report:
    """The same over the cluster in platform.json, by the limits there; nothing where there is none."""
    try:
        file = platform.read_file()
    except LauncherError as exc:
        return Report((), (f"GKE is left as it is: {exc}",))
    if file is None or file.gke is None:
        return Report((), ())
    settings = ClusterSettings(file.gke.idle_s, file.gke.delete_idle)
    return reap_clusters(platform, f"{file.gke.location}/{file.gke.cluster}", settings, dry_run=dry_run, log=log)


@dataclasses.dataclass
class _Pass:
    platform: Platform
    location: str
    name: str
    settings: ClusterSettings
    dry_run: bool
    verbose: bool
    log: Callable[[Entry], object]
    decisions: list[Decision] = dataclasses.field(default_factory=list)
    errors: list[str] = dataclasses.field(default_factory=list)

    @property
    def service(self) -> ClusterService:
        return self.platform.clusters

    def run(self) -> None:
        store = self.platform.control_store
        stored = store.read(CLUSTERS)  # before the look: whoever looks later, and writes, wins
        now = stored.now if stored else store.time()
        cluster = self.service.get(self.location, self.name)
        if cluster is None:
            self.tell("keep", "", "there is none")
            return
        if not is_ours(cluster, self.platform.profile.platform):
            raise ConfigError(f"it does not carry the label {PLATFORM_LABEL} = {self.platform.profile.platform}")
        before = job_records.parse(stored, CLUSTERS, ClusterWatch) if stored else ClusterWatch("", "")
        if (before.cluster, before.uid) != (f"{self.location}/{self.name}", cluster.uid):
            before = ClusterWatch(f"{self.location}/{self.name}", cluster.uid)  # of another cluster, or the first
        verdicts = self.judge(cluster, self.pods(cluster), before, now)
        since = {pool: verdict.since for pool, verdict in verdicts.items() if isinstance(verdict, Idle)}
        due = [pool for pool, verdict in verdicts.items() if isinstance(verdict, Idle) and verdict.due]
        after = ClusterWatch(before.cluster, before.uid, since.pop("", 0.0), since)
        changed = dataclasses.replace(after, token=before.token) != before
        generation = stored.generation if stored else 0
        write = not self.dry_run and (due or changed)
        if write and swap(store, CLUSTERS, codec.encode(after), generation) is None:
            self.tell("keep", "", "another pass looked at it meanwhile")
            return
        for pool, verdict in verdicts.items():
            if pool in due:
                self.act(pool, verdict.reason, after)
            else:
                marked = isinstance(verdict, Idle) and not before.since(pool)
                self.tell("mark" if marked else "keep", pool, verdict.reason)

    def pods(self, cluster: ClusterFacts) -> Pods:
        try:
            return self.service.pods(cluster)
        except CloudError as exc:
            self.fail(f"cluster {self.name} in {self.location}: nothing counts as idle: {exc}", exc)
            return None

    def judge(self, cluster: ClusterFacts, pods: Pods, watch: ClusterWatch, now: float) -> dict[str, Keep | Idle]:
        """By pool; the cluster itself under ""."""
        verdicts: dict[str, Keep | Idle] = {
            pool.name: pool_verdict(cluster, pool, pods, watch.since(pool.name), now, self.settings)
            for pool in cluster.pools
            if pool.tpu
        }
        return verdicts | {"": cluster_verdict(cluster, pods, watch.since(""), now, self.settings)}

    def act(self, pool: str, reason: str, watch: ClusterWatch) -> None:
        """Empties a pool or deletes the cluster, unless another look finds that it is no longer idle."""
        try:
            again = None if self.dry_run else self.look_again(pool, watch)
            if isinstance(again, Keep):
                self.tell("keep", pool, again.reason)
                return
            if pool and not self.dry_run:
                self.service.empty_pool(self.location, self.name, pool)
            elif not self.dry_run:
                self.service.delete(self.location, self.name)
        except CloudError as exc:
            self.fail(f"{self.words(pool)} in {self.location}: {exc}", exc)
        else:
            self.tell("empty" if pool else "delete", pool, reason)

    def look_again(self, pool: str, watch: ClusterWatch) -> Keep | Idle:
        cluster = self.service.get(self.location, self.name)
        if cluster is None or cluster.uid != watch.uid or not is_ours(cluster, self.platform.profile.platform):
            return Keep("it is another cluster now, or none")
        verdicts = self.judge(cluster, self.service.pods(cluster), watch, self.platform.control_store.time())
        return verdicts.get(pool, Keep("it is gone"))

    def words(self, pool: str) -> str:
        return f"pool {self.name}/{pool}" if pool else f"cluster {self.name}"

    def tell(self, action: str, pool: str, reason: str) -> None:
        resource = self.words(pool)
        self.decisions.append(Decision(self.location, resource, action, reason))
        if action == "keep" and not self.verbose:
            return
        message = f"{'would ' if self.dry_run else ''}{action} {resource} in {self.location}: {reason}"
        severity = "INFO" if action == "keep" else "NOTICE"
        about = {"zone": self.location, "resource": resource, "action": action, "reason": reason}
        self.log({"severity": severity, "event": "decision", "message": message, **about, "dry_run": self.dry_run})

    def fail(self, message: str, exc: Exception) -> None:
        self.errors.append(message)
        about = {
            "denied": isinstance(exc, (PermissionDenied, ApiDisabled)),
            "zone": self.location,
            "dry_run": self.dry_run,
        }
        self.log({"severity": "ERROR", "event": "error", "message": message, **about})
