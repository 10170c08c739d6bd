"""What a provider was configured with: its block's arguments first, then its environment."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from tests.terraform.standin.values import Object

ATTRIBUTION = {"goog-terraform-provisioned": "true"}


@dataclasses.dataclass(frozen=True)
class Settings:
    """`cwd` is where Terraform runs: what relative paths are relative to. An endpoint of None: only remember."""

    cwd: Path
    project: str | None = None
    region: str | None = None
    zone: str | None = None
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    attribution: bool = True
    deletion_policy: str = "DELETE"
    storage: str | None = None
    tpu: str | None = None
    token: str = "any"


def configured(block: Object, env: Mapping[str, str], cwd: Path) -> Settings:
    def given(argument: str, *variables: str) -> str | None:
        values = [block.get(argument), *(env.get(each) for each in variables)]
        return next((each for each in values if isinstance(each, str) and each), None)

    return Settings(
        cwd=cwd,
        project=given("project", "GOOGLE_PROJECT", "GOOGLE_CLOUD_PROJECT"),
        region=given("region", "GOOGLE_REGION"),
        zone=given("zone", "GOOGLE_ZONE"),
        labels=block.get("default_labels") or {},
        attribution=block.get("add_terraform_attribution_label") is not False,
        deletion_policy=given("deletion_policy") or "DELETE",
        storage=given("storage_custom_endpoint", "GOOGLE_STORAGE_CUSTOM_ENDPOINT"),
        tpu=given("tpu_v2_custom_endpoint", "GOOGLE_TPU_V2_CUSTOM_ENDPOINT"),
        token=given("access_token", "GOOGLE_OAUTH_ACCESS_TOKEN") or "any",
    )
