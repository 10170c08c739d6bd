"""Which permissions and APIs the launcher needs, which of them are missing, and the commands that give them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from launcher.cloud.retry import ENABLE, GRANT
from launcher.errors import CloudError, LauncherError, Unavailable
from launcher.fleet.platform import Platform

E = TypeVar("E", bound=CloudError)

_LACKS = re.compile(rf"lacks (\S+) on (\S+ \S+)\. {GRANT}(gcloud .+?) --role=\S+ --member=\S+")
_DISABLED = re.compile(rf" {ENABLE}gcloud services enable (\S+) --project \S+")
_COMMANDS = "Whoever administers the project can run:"

PROJECT, JOBS, CONTROL, ACCOUNT = "project", "jobs bucket", "control bucket", "service account"
_TPU, _IAP = "roles/tpu.admin", "roles/iap.tunnelResourceAccessor"
_OBJECTS, _READ = "roles/storage.objectUser", "roles/storage.objectViewer"
_ACT_AS = "roles/iam.serviceAccountUser"


@dataclasses.dataclass(frozen=True)
class Need:
    """One permission, where it is needed, the predefined role that has it, and the calls that ask for it."""

    permission: str
    place: str
    role: str
    calls: str


# Cloud TPU has no permissions of its own for queued resources: those of nodes count.
NEEDS = (
    Need("tpu.nodes.create", PROJECT, _TPU, "queuedResources.create"),
    Need("tpu.nodes.get", PROJECT, _TPU, "queuedResources.get, nodes.get, nodes.getGuestAttributes"),
    Need("tpu.nodes.list", PROJECT, _TPU, "queuedResources.list, nodes.list"),
    Need("tpu.nodes.delete", PROJECT, _TPU, "queuedResources.delete"),
    Need("tpu.nodes.update", PROJECT, _TPU, "nodes.patch"),
    Need("tpu.operations.get", PROJECT, _TPU, "operations.get"),
    Need("tpu.acceleratortypes.list", PROJECT, _TPU, "acceleratorTypes.list"),
    Need("iap.tunnelInstances.accessViaIAP", PROJECT, _IAP, "SSH, where connect is iap"),
    Need("iam.serviceAccounts.actAs", ACCOUNT, _ACT_AS, "queuedResources.create, where service_account is set"),
    Need("storage.objects.create", JOBS, _OBJECTS, "objects.insert"),
    Need("storage.objects.get", JOBS, _OBJECTS, "objects.get"),
    Need("storage.objects.list", JOBS, _OBJECTS, "objects.list; 404, not 403, where there is no object"),
    Need("storage.objects.delete", JOBS, _OBJECTS, "objects.insert over an older generation"),
    Need("storage.objects.get", CONTROL, _READ, "objects.get: whether the budget guard froze the platform"),
    Need("storage.objects.list", CONTROL, _READ, "the same, where it did not"),
)
_SERVICES = ("tpu.googleapis.com", "storage.googleapis.com")


@dataclasses.dataclass(frozen=True)
class Missing:
    """What was found. `commands`: one for all APIs, one for each role; `granted`: each permission and how the command
    that gives it begins. `unknown`: why a part could not be asked."""

    services: tuple[str, ...] = ()
    needs: tuple[Need, ...] = ()
    member: str = ""
    commands: tuple[str, ...] = ()
    granted: frozenset[tuple[str, str]] = frozenset()
    unknown: tuple[str, ...] = ()

    @property
    def permissions(self) -> str:
        """`tpu.nodes.get, tpu.nodes.list (project); storage.objects.get (jobs bucket)`."""
        places = dict.fromkeys(need.place for need in self.needs)
        return "; ".join(
            f"{', '.join(need.permission for need in self.needs if need.place == place)} ({place})" for place in places
        )

    @property
    def words(self) -> str:
        """All of it with the commands, in lines; "" where nothing was found."""
        lines = [f"APIs that are not enabled: {', '.join(self.services)}."] if self.services else []
        lines += [f"All permissions that {self.member} lacks: {self.permissions}."] if self.needs else []
        lines += [_COMMANDS, *(f"  {command}" for command in self.commands)] if self.commands else []
        return "\n".join(lines)

    def shorten(self, message: str) -> str:
        """A refusal's message without the advice that `words` repeats."""

        def lacks(found: re.Match[str]) -> str:
            return f"lacks {found[1]} on {found[2]}." if (found[1], found[3]) in self.granted else found[0]

        message = _LACKS.sub(lacks, message)
        return _DISABLED.sub(lambda found: "" if found[1] in self.services else found[0], message)


def services_of(platform: Platform) -> tuple[str, ...]:
    """The APIs that this platform needs enabled."""
    return (*_SERVICES, "iap.googleapis.com") if _uses_iap(platform) else _SERVICES


def needs_of(platform: Platform, place: str) -> tuple[Need, ...]:
    """What this platform needs in one place."""
    if place == ACCOUNT and not platform.profile.service_account:
        return ()
    if place == CONTROL and not platform.profile.control_bucket:
        return ()
    return tuple(need for need in NEEDS if need.place == place and (need.role != _IAP or _uses_iap(platform)))


def find_missing(platform: Platform) -> Missing:
    """Asks Google for everything at once. Never raises a LauncherError: what could not be asked is `unknown`."""
    profile, project = platform.profile, platform.project
    services: tuple[str, ...] = ()
    needs: list[Need] = []
    unknown: list[str] = []

    def ask_services() -> None:
        nonlocal services
        services = project.disabled_services(services_of(platform))

    def ask(place: str, missing: Callable[[Sequence[str]], tuple[str, ...]]) -> None:
        wanted = needs_of(platform, place)
        lacked = missing([need.permission for need in wanted]) if wanted else ()
        needs.extend(need for need in wanted if need.permission in lacked)

    steps: list[Callable[[], None]] = [
        ask_services,
        lambda: ask(PROJECT, project.missing_permissions),
        lambda: ask(ACCOUNT, lambda asked: project.missing_account_permissions(profile.service_account, asked)),
        lambda: ask(JOBS, lambda asked: project.missing_bucket_permissions(profile.bucket, asked)),
        lambda: ask(CONTROL, lambda asked: project.missing_bucket_permissions(profile.control_bucket, asked)),
    ]
    for step in steps:
        try:
            step()
        except Unavailable as exc:  # the others would wait as long
            unknown.append(str(exc))
            break
        except LauncherError as exc:
            unknown.append(str(exc))
    member = _member(platform) if needs else ""
    bind = _bind(platform)
    roles = dict.fromkeys((need.place, need.role) for need in needs)
    enable = [f"gcloud services enable {' '.join(services)} --project {profile.project}"] if services else []
    commands = (*enable, *(f"{bind[place]} --role={role} --member={member}" for place, role in roles))
    granted = frozenset((need.permission, bind[need.place]) for need in needs)
    return Missing(services, tuple(needs), member, commands, granted, tuple(unknown))


def explain(platform: Platform, error: E) -> E:
    """An error of the same class that tells all that is missing; the same error where nothing was found, or where it
    tells that already: a job's record keeps it."""
    missing = Missing() if _COMMANDS in str(error) else find_missing(platform)
    return type(error)(f"{missing.shorten(str(error))}\n{missing.words}") if missing.words else error


def _bind(platform: Platform) -> dict[str, str]:
    """How the command begins that gives a role, by place."""
    profile = platform.profile
    return {
        PROJECT: f"gcloud projects add-iam-policy-binding {profile.project}",
        JOBS: f"gcloud storage buckets add-iam-policy-binding gs://{profile.bucket}",
        CONTROL: f"gcloud storage buckets add-iam-policy-binding gs://{profile.control_bucket}",
        ACCOUNT: f"gcloud iam service-accounts add-iam-policy-binding {profile.service_account}",
    }


def _member(platform: Platform) -> str:
    try:
        email = platform.project.account()
    except LauncherError:
        email = ""
    return f"{'serviceAccount' if email.endswith('.gserviceaccount.com') else 'user'}:{email or 'YOU'}"


def _uses_iap(platform: Platform) -> bool:
    return platform.profile.connect == "iap" and not platform.profile.proxy_command
