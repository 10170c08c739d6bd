"""The node's startup script: a timer on every worker that deletes the node when nobody wants it any more.

It works from the first boot, before anything of ours arrived and with no client ever connecting: shell, and the
image's own Python for HTTP. It reads the node's lease with the worker's own identity and follows records/policy.py,
`margin_s` later. Nothing is deleted unless its lease was condemned first, except past the uptime cap, which needs only
a clock and the TPU API.
"""

from __future__ import annotations

import json
import shlex
import urllib.parse

from launcher.records import paths
from launcher.records.policy import PolicySettings

CHECK_S = 60
_PASS_S = 300  # what a pass may take before it is given up
_POLICY = PolicySettings()

_TIMER = r"""
import datetime, email.utils, json, os, signal, sys, time, urllib.error, urllib.request
def monotonic():
    # Not the time of day, which may be set hours forward after the boot. Simulated time is advanced: see there.
    folder = os.environ.get("LAUNCHER_CLOCK")
    ahead = open(folder + "/offset").read().split()[0] if folder else 0
    return time.monotonic() + float(ahead)
if sys.argv[1] == "now":
    print(int(monotonic()))
    sys.exit()
c = json.loads(sys.argv[1]); up = monotonic() - int(sys.argv[2]); too_old = up > c["max_lifetime_s"] + c["margin_s"]
def late(*_):
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(c["pass_s"])
    raise TimeoutError("no end in sight")
signal.signal(signal.SIGALRM, late)
signal.alarm(c["pass_s"])
host = os.environ.get("GCE_METADATA_HOST", "metadata.google.internal")
def get(url, method="GET", body=None, **headers):
    request = urllib.request.Request(url, body, headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read(), answer.headers
base = "http://" + host + "/computeMetadata/v1/instance/service-accounts/default/token"
token = json.loads(get(base, **{"Metadata-Flavor": "Google"})[0])["access_token"]
auth = {"Authorization": "Bearer " + token}
def wanted():
    try:
        meta, headers = get(c["object"], **auth)
        meta = json.loads(meta)
        # An older launcher's lease lacks what is newer than it.
        body = get(c["object"] + "?alt=media&generation=" + meta["generation"], **auth)[0]
        lease = {**c["lease"], **json.loads(body)}
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        if up < c["grace_s"] + c["margin_s"]:
            return True
        return condemn({}, "0", "no lease")
    if lease.get("external"):
        return True
    if lease["state"] == "CONDEMNED":
        return False
    now = email.utils.parsedate_to_datetime(headers["Date"]).timestamp()
    updated = datetime.datetime.fromisoformat(meta["updated"].replace("Z", "+00:00")).timestamp()
    # The API's createTime: a reboot does not reset it.
    if too_old or lease["created"] and now >= lease["created"] + lease["max_lifetime_s"] + c["margin_s"]:
        return condemn(lease, meta["generation"], "the node's timer: older than its max_lifetime")
    if lease["state"] == "WARM":
        end = max(updated + lease["keep_warm_s"], lease["warm_until"])
    else:
        end = updated + lease["ttl_s"] + c["idle_s"]
    if lease["state"] == "DRAINING":
        end = min(end, lease["deadline"])
    if now < end + c["margin_s"]:
        return True
    return condemn(lease, meta["generation"], "the node's timer: unused since %d" % updated)
def condemn(lease, generation, reason):
    token = os.urandom(8).hex()
    lease = {**c["lease"], **lease, "state": "CONDEMNED", "reason": reason, "writer": "", "token": token}
    try:
        get(c["upload"] + generation, "POST", json.dumps(lease).encode(),
            **auth, **{"Content-Type": "application/json"})
    except urllib.error.HTTPError as error:
        if error.code != 412:
            raise
        return True
    return False
delete = too_old
try:
    delete = not wanted() or too_old
finally:
    if delete:
        get(c["queued_resource"], "DELETE", **auth)
"""

# Nothing in the loop may end it: no arithmetic with what a command printed, or failed to print.
_SCRIPT = """#!/bin/sh
# Deletes this node when its lease is dead. Written by tpu-launcher.
timer=$(cat <<'END_OF_TIMER'
{timer}
END_OF_TIMER
)
config={config}
export timer config
setsid sh -c '
  booted=
  while :; do
    : "${{booted:=$(python3 -I -c "$timer" now)}}"
    sleep "$(shuf -n 1 -i {check_s}-{check_most_s})" || sleep {check_s}
    python3 -I -c "$timer" "$config" "$booted" || echo "launcher timer: will try again"
  done' </dev/null &
"""


def startup_script(
    *,
    project: str,
    zone: str,
    queued_resource: str,
    bucket: str,
    platform: str,
    owner: str,
    storage_endpoint: str,
    tpu_endpoint: str,
    max_lifetime_s: float,
    policy: PolicySettings = _POLICY,
    check_s: int = CHECK_S,
) -> str:
    """The script for one node's `startup-script` metadata. No secret in it."""
    name = paths.lease(zone, queued_resource)
    quoted = urllib.parse.quote(name, safe="")
    config = {
        "object": f"{storage_endpoint}/storage/v1/b/{bucket}/o/{quoted}",
        "upload": f"{storage_endpoint}/upload/storage/v1/b/{bucket}/o?uploadType=media"
        f"&name={quoted}&ifGenerationMatch=",
        "queued_resource": f"{tpu_endpoint}/v2/projects/{project}/locations/{zone}"
        f"/queuedResources/{queued_resource}?force=true",
        "idle_s": policy.idle_s,
        "margin_s": policy.margin_s,
        "grace_s": policy.grace_s,
        "max_lifetime_s": max_lifetime_s,
        "pass_s": _PASS_S,
        "lease": {
            "schema": 1,
            "resource": queued_resource,
            "zone": zone,
            "platform": platform,
            "owner": owner,
            "holder": "",
            "ttl_s": policy.ttl_s,
            "keep_warm_s": policy.idle_s,
            "warm_until": 0.0,
            "created": 0.0,
            "max_lifetime_s": max_lifetime_s,
            "deadline": 0.0,
        },
    }
    return _SCRIPT.format(
        timer=_TIMER.strip(),
        config=shlex.quote(json.dumps(config)),
        check_s=check_s,
        check_most_s=check_s + check_s // 4,
    )
