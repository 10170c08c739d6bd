"""The node's startup script: a timer that deletes the node when nobody wants it any more.

It works from the first boot, before anything of ours arrived and with no client ever connecting: shell, and the
image's own Python for HTTP. It reads the node's lease with the worker's own identity and follows the rule of
records/leases.py; nothing is deleted unless the lease was condemned first, except past the uptime cap, which needs
only a clock and the TPU API.
"""

from __future__ import annotations

import json
import shlex
import urllib.parse

from launcher.records import paths

IDLE_S = 15 * 60.0
MARGIN_S = 10 * 60.0
GRACE_S = 10 * 60.0  # from boot until a node without any lease counts as forgotten
CHECK_S = 60

_TIMER = r"""
import datetime, email.utils, json, os, sys, urllib.error, urllib.request
c = json.loads(sys.argv[1]); up = float(sys.argv[2])
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
        lease = json.loads(get(c["object"] + "?alt=media&generation=" + meta["generation"], **auth)[0])
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        if up < c["grace_s"]:
            return True
        return condemn({}, "0", "no lease")
    now = email.utils.parsedate_to_datetime(headers["Date"]).timestamp()
    updated = datetime.datetime.fromisoformat(meta["updated"].replace("Z", "+00:00")).timestamp()
    if lease["state"] == "CONDEMNED":
        return False
    ttl = 0.0 if lease["state"] == "WARM" else lease["ttl_s"]
    if now < updated + ttl + c["idle_s"] + c["margin_s"]:
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
delete = up > c["uptime_cap_s"]
try:
    delete = delete or not wanted()
finally:
    if delete:
        get(c["queued_resource"], "DELETE", **auth)
"""

_SCRIPT = """#!/bin/sh
# Deletes this node when its lease is dead. Written by tpu-launcher.
timer=$(cat <<'END_OF_TIMER'
{timer}
END_OF_TIMER
)
config={config}
# Not the time of day, which may be set hours forward after the boot.
now='import time; print(int(time.monotonic()))'
export timer config now
setsid sh -c '
  booted=$(python3 -I -c "$now")
  while :; do
    sleep $(({check_s} + $(od -An -N1 -tu1 /dev/urandom) % 15))
    python3 -I -c "$timer" "$config" $(($(python3 -I -c "$now") - booted)) || echo "launcher timer: will try again"
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
    check_s: int = CHECK_S,
    idle_s: float = IDLE_S,
    margin_s: float = MARGIN_S,
    grace_s: float = GRACE_S,
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
        "idle_s": idle_s,
        "margin_s": margin_s,
        "grace_s": grace_s,
        "uptime_cap_s": max_lifetime_s + margin_s,
        "lease": {
            "schema": 1,
            "resource": queued_resource,
            "zone": zone,
            "platform": platform,
            "owner": owner,
            "holder": "",
        },
    }
    return _SCRIPT.format(timer=_TIMER.strip(), config=shlex.quote(json.dumps(config)), check_s=check_s)
