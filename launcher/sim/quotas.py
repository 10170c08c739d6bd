"""Quotas of the simulated project, by Google's own names: what is read, and what a request that exceeds one is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from launcher.sim import catalog
from launcher.sim.state import Body

LIMIT = 4096
_SERVING_CHIPS = 8  # up to this size v5litepod counts against the serving quota


@dataclass(frozen=True)
class Quota:
    """`metric` without the service; `limit` with {} where the preemptible one has its word."""

    metric: str
    limit: str

    def metric_of(self, spot: bool) -> str:
        return f"tpu.googleapis.com/{self.metric}{'-preemptible' if spot else ''}"

    def limit_of(self, spot: bool) -> str:
        return self.limit.format("Preemptible" if spot else "") + "PerProjectPerZoneForTPUAPI"


_V5E_SERVING = Quota("tpu-v5s-litepod-serving", "TPUV5s{}LitepodServing")
# By prefix of the accelerator type. Those of v2 and v3 follow the others' pattern; nothing that was found names them.
_QUOTAS = {
    "v2": Quota("tpu-v2", "TPUV2{}"),
    "v3": Quota("tpu-v3", "TPUV3{}"),
    "v4": Quota("tpu-v4s", "TPUV4s{}Pod"),
    "v5litepod": Quota("tpu-v5s-litepod", "TPUV5s{}Litepod"),
    "v5p": Quota("tpu-v5p", "TPUV5P{}"),
    "v6e": Quota("tpu-v6e", "TPUV6E{}"),
}


def exhausted(accelerator: str, zone: str, *, spot: bool) -> str:
    """Google's words for a request beyond the quota, which is 0 here."""
    prefix, _, size = accelerator.partition("-")
    quota = _V5E_SERVING if prefix == "v5litepod" and int(size) <= _SERVING_CHIPS else _QUOTAS[prefix]
    return f"Quota '{quota.limit_of(spot)}' exhausted. Limit 0 in zone {zone}"


def metrics(parent: str, used_up: set[str]) -> list[Body]:
    """services.consumerQuotaMetrics of `parent` (projects/P/services/tpu.googleapis.com); 0 in zones `used_up`."""
    return [
        _metric(parent, quota, spot, used_up) for quota in [*_QUOTAS.values(), _V5E_SERVING] for spot in (False, True)
    ]


def _metric(parent: str, quota: Quota, spot: bool, used_up: set[str]) -> Body:
    metric = quota.metric_of(spot)
    name = f"{parent}/consumerQuotaMetrics/{metric.replace('/', '%2F')}"
    # A limit of 0 is left out, as in every JSON that is made of a proto3 message.
    buckets: list[dict[str, Any]] = [{"effectiveLimit": str(LIMIT), "defaultLimit": str(LIMIT)}]
    buckets += [{"defaultLimit": str(LIMIT), "dimensions": {"zone": zone}} for zone in sorted(used_up)]
    limit = {
        "name": f"{name}/limits/%2Fproject%2Fzone",
        "metric": metric,
        "unit": "1/{project}/{zone}",
        "isPrecise": True,
        "quotaBuckets": buckets,
        "supportedLocations": list(catalog.ZONES),
    }
    title = quota.metric.replace("-", " ") + (" preemptible" if spot else "")
    return {"name": name, "metric": metric, "displayName": title, "unit": "1", "consumerQuotaLimits": [limit]}
