"""What keeps a platform from running jobs, and the command that mends it."""

from __future__ import annotations

import dataclasses
import enum
import time
from collections.abc import Callable, Iterator, Sequence

from launcher.accelerators import Accelerator
from launcher.cloud.seams import TpuQuota
from launcher.errors import ApiDisabled, CloudError, LauncherError, PermissionDenied
from launcher.fleet import access, freeze, inventory
from launcher.fleet.platform import Platform
from launcher.records.paths import PLATFORM

CLOCK_S = 60.0  # further off, signed requests begin to be refused, and times in messages mislead

# How the name of an accelerator's quota begins. Some generations have several, by size of the slice.
_QUOTAS = {
    "v2": "tpu-v2",
    "v3": "tpu-v3",
    "v4": "tpu-v4",
    "v5litepod": "tpu-v5s-litepod",
    "v5p": "tpu-v5p",
    "v6e": "tpu-v6e",
}


class Verdict(enum.StrEnum):
    OK = "ok"
    PROBLEM = "problem"
    UNKNOWN = "unknown"  # it could not be looked at


@dataclasses.dataclass(frozen=True)
class Check:
    """One thing that was looked at. `fixes`: commands, in order."""

    name: str
    verdict: Verdict
    text: str
    fixes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class _Patient:
    platform: Platform
    zones: tuple[str, ...]
    chosen: bool  # whether somebody named the zones
    accelerator: Accelerator | None
    lacking: bool = False  # APIs or permissions, as was told before


def examine(
    platform: Platform, *, zones: Sequence[str] = (), accelerator: Accelerator | None = None
) -> Iterator[Check]:
    """Every check in order, each as soon as it is done. `zones`: other ones than the profile's."""
    patient = _Patient(platform, tuple(zones) or platform.profile.zones, bool(zones), accelerator)
    first = _guarded("profile", _profile, patient)
    yield from first
    if first[-1].verdict is Verdict.PROBLEM:  # without credentials all else fails alike
        return
    for name, check in (
        ("access", _access),
        ("bucket", _bucket),
        ("platform", _platform_file),
        ("zones", _zones),
        ("quota", _quota),
        ("budget", _budget),
        ("clock", _clock),
        ("leftovers", _leftovers),
    ):
        found = _guarded(name, check, patient)
        yield from found
        if name == "access" and any(each.verdict is Verdict.PROBLEM for each in found):
            patient = dataclasses.replace(patient, lacking=True)


def explain(platform: Platform, error: access.E) -> access.E:
    """What a refused call is to say: all that is missing, not only what Google named first. Never raises.

    The same error where nothing is missing, or nobody can tell.
    """
    return access.explain(platform, error) if isinstance(error, (PermissionDenied, ApiDisabled)) else error


def _guarded(name: str, check: Callable[[_Patient], Iterator[Check]], patient: _Patient) -> list[Check]:
    """The check's lines; an error is its last one."""
    found: list[Check] = []
    try:
        found.extend(check(patient))
    except LauncherError as exc:
        found.append(_failed(name, exc, patient))
    return found


def _failed(name: str, error: LauncherError, patient: _Patient) -> Check:
    if patient.lacking and isinstance(error, (ApiDisabled, PermissionDenied)):
        return Check(name, Verdict.UNKNOWN, "cannot be looked at before what is missing above is there")
    return Check(name, Verdict.PROBLEM, str(error))


def _profile(patient: _Patient) -> Iterator[Check]:
    profile = patient.platform.profile
    account = patient.platform.project.account()
    who = f"as {account}" if account else "without credentials" if profile.credentials == "anonymous" else "as somebody"
    yield Check("profile", Verdict.OK, f"{profile.name}: platform {profile.platform}, project {profile.project}, {who}")


def _access(patient: _Patient) -> Iterator[Check]:
    missing = access.find_missing(patient.platform)
    fixes = list(missing.commands)
    if missing.services:
        enable = fixes.pop(0)
        yield Check("APIs", Verdict.PROBLEM, f"not enabled: {', '.join(missing.services)}", (enable,))
    if missing.needs:
        text = f"{missing.member} lacks {missing.permissions}"
        yield Check("permissions", Verdict.PROBLEM, text, tuple(fixes))
    for why in missing.unknown:
        yield Check("access", Verdict.UNKNOWN, why)
    if not missing.unknown and not missing.services:
        yield Check("APIs", Verdict.OK, f"{', '.join(access.services_of(patient.platform))} are enabled")
    if not missing.unknown and not missing.needs:
        yield Check("permissions", Verdict.OK, "all that the launcher needs")


def _bucket(patient: _Patient) -> Iterator[Check]:
    platform = patient.platform
    next(iter(platform.store.list("owners/", delimiter="/")), None)
    yield Check("bucket", Verdict.OK, f"gs://{platform.profile.bucket} answers")


def _platform_file(patient: _Patient) -> Iterator[Check]:
    profile, file = patient.platform.profile, patient.platform.read_file()
    if file is None:
        yield Check("platform", Verdict.OK, f"no {PLATFORM}, so there are no pools and no nodes of Terraform's")
        return
    join = f"launcher init --bucket {profile.control_bucket} --profile {profile.name}"
    if set(profile.zones) != set(file.zones):
        text = f"the profile's zones are {', '.join(profile.zones)}, the platform's {', '.join(file.zones)}"
        yield Check("platform", Verdict.PROBLEM, text, (join,))
        return
    pools = ", ".join(sorted(file.pools)) or "none"
    text = f"gs://{profile.control_bucket}/{PLATFORM}: pools {pools}; {len(file.nodes)} nodes of Terraform's"
    yield Check("platform", Verdict.OK, text)


def _zones(patient: _Patient) -> Iterator[Check]:
    offering: list[str] = []
    wrong: list[str] = []
    wanted = patient.accelerator.name if patient.accelerator else ""
    for zone in patient.zones:
        try:
            offered = set(patient.platform.nodes.list_accelerators(zone))
        except CloudError as exc:
            check = _failed("zones", exc, patient)
            yield check
            if check.verdict is Verdict.UNKNOWN:  # so it is everywhere
                return
            continue
        (offering if wanted in offered or not wanted else wrong).append(zone)
    if not wanted:
        if offering:
            yield Check("zones", Verdict.OK, f"{', '.join(offering)} exist")
    elif wrong and (patient.chosen or not offering):
        fix = (
            f"gcloud compute tpus accelerator-types list --zone {wrong[0]} --project {patient.platform.profile.project}"
        )
        yield Check("zones", Verdict.PROBLEM, f"{wanted} is not offered in {', '.join(wrong)}", (fix,))
    elif offering:
        rest = f"; not in {', '.join(wrong)}" if wrong else ""
        yield Check("zones", Verdict.OK, f"{wanted} is offered in {', '.join(offering)}{rest}")


def _quota(patient: _Patient) -> Iterator[Check]:
    try:
        quotas = {zone: patient.platform.project.tpu_quotas(zone) for zone in patient.zones}
    except CloudError as exc:  # to read them is a permission of its own, that jobs do not need
        yield Check("quota", Verdict.UNKNOWN, str(exc))
        return
    prefix, _, size = patient.accelerator.name.partition("-") if patient.accelerator else ("", "", "1")
    start = _QUOTAS.get(prefix, "tpu-v")
    if not any(each.name.startswith(start) for found in quotas.values() for each in found):
        yield Check("quota", Verdict.UNKNOWN, f"Google names no quota that begins with {start}")
        return
    words = {
        zone: f"{zone}: {_amount(found, start, spot=False)} on demand, {_amount(found, start, spot=True)} spot"
        for zone, found in quotas.items()
    }
    enough = [
        zone
        for zone, found in quotas.items()
        if any(each.limit < 0 or each.limit >= int(size) for each in found if each.name.startswith(start))
    ]
    what = f"of {start}, {patient.accelerator.name} needs {size}; " if patient.accelerator else "of TPUs in "
    if enough and (len(enough) == len(quotas) or not patient.chosen):
        yield Check("quota", Verdict.OK, what + "; ".join(words[zone] for zone in enough))
        return
    page = f"https://console.cloud.google.com/iam-admin/quotas?project={patient.platform.profile.project}"
    text = what + "; ".join(words[zone] for zone in quotas if zone not in enough)
    yield Check("quota", Verdict.PROBLEM, f"too little {text}", (f"Ask for more at {page}",))


def _amount(quotas: Sequence[TpuQuota], start: str, *, spot: bool) -> str:
    """The largest quota of those that can count, in words."""
    limits = [each.limit for each in quotas if each.name.startswith(start) and ("preemptible" in each.name) == spot]
    if not limits:
        return "none"
    return "unlimited" if min(limits) < 0 else str(max(limits))


def _budget(patient: _Patient) -> Iterator[Check]:
    frozen = freeze.read(patient.platform)
    if frozen is None:
        yield Check("budget", Verdict.OK, "the platform is not frozen")
    else:
        text = f"the platform is frozen: {freeze.words(frozen)}; nothing new is started"
        yield Check("budget", Verdict.PROBLEM, text, ("launcher unfreeze",))


def _clock(patient: _Patient) -> Iterator[Check]:
    before = time.time()
    theirs = patient.platform.store.time()
    ahead_s = (before + time.time()) / 2 - theirs
    text = f"{abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} Google's"
    if abs(ahead_s) <= CLOCK_S:
        yield Check("clock", Verdict.OK, f"at most {CLOCK_S:g} s off Google's")
    elif patient.platform.profile.simulated:
        yield Check("clock", Verdict.OK, f"{text} (simulated time)")
    else:
        yield Check("clock", Verdict.PROBLEM, f"this machine's clock is {text}", ("sudo timedatectl set-ntp true",))


def _leftovers(patient: _Patient) -> Iterator[Check]:
    overdue = [node for node in inventory.list_nodes(patient.platform) if node.overdue]
    if not overdue:
        yield Check("leftovers", Verdict.OK, "no node that nobody uses")
    for node in overdue:
        yield Check("leftovers", Verdict.PROBLEM, f"{node.name} in {node.zone}: {node.reason}", ("launcher reap",))
