"""The provider: an answer to each question of Terraform's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.terraform.standin.archive import archive_file
from tests.terraform.standin.checks import error, refusals
from tests.terraform.standin.cloud import Cloud, CloudError
from tests.terraform.standin.computed import filled
from tests.terraform.standin.customdiff import completed
from tests.terraform.standin.live import Live
from tests.terraform.standin.plan import planned, replaced
from tests.terraform.standin.schema import load_schema, schema_message
from tests.terraform.standin.settings import Settings, configured
from tests.terraform.standin.storage import Bucket, BucketObject, remembered_object
from tests.terraform.standin.tpu import QueuedResource, Vm
from tests.terraform.standin.values import UNKNOWN, Object, dump, load, no_value, path_message

Message = dict[str, Any]


class Provider:
    """`peer` names the connection: each Terraform process, and each provider block in it, has one of its own."""

    def __init__(self, name: str, cwd: Path, env: Mapping[str, str]) -> None:
        self._name = name
        self._cwd = cwd
        self._env = env
        self._schema = load_schema(name)
        self._resources: Object = self._schema["resource_schemas"]
        self._data: Object = self._schema["data_source_schemas"]
        self._settings: dict[str, Settings] = {}

    # What there is

    def GetSchema(self, request: Message, peer: str) -> Message:
        return {
            "provider": schema_message(self._schema["provider"]),
            "resource_schemas": {name: schema_message(each) for name, each in self._resources.items()},
            "data_source_schemas": {name: schema_message(each) for name, each in self._data.items()},
            "functions": self._functions(),
            "server_capabilities": {"get_provider_schema_optional": True},
        }

    def GetMetadata(self, request: Message, peer: str) -> Message:
        return {
            "resources": [{"type_name": name} for name in self._resources],
            "data_sources": [{"type_name": name} for name in self._data],
        }

    def GetFunctions(self, request: Message, peer: str) -> Message:
        return {"functions": self._functions()}

    def CallFunction(self, request: Message, peer: str) -> Message:
        zone = load(request["arguments"][0])
        return {"result": dump(zone.rpartition("-")[0])}

    def _functions(self) -> Message:
        """provider::google::region_from_zone"""
        if self._name != "google":
            return {}
        parameter = {"name": "zone", "type": b'"string"'}
        return {"region_from_zone": {"parameters": [parameter], "return": {"type": b'"string"'}}}

    def PrepareProviderConfig(self, request: Message, peer: str) -> Message:
        return {"prepared_config": request.get("config")}

    def Configure(self, request: Message, peer: str) -> Message:
        self._settings[peer] = configured(load(request.get("config")) or {}, self._env, self._cwd)
        return {}

    def Stop(self, request: Message, peer: str) -> Message:
        return {}

    # Validation

    def ValidateResourceTypeConfig(self, request: Message, peer: str) -> Message:
        return {"diagnostics": refusals(self._block(request), load(request["config"]))}

    def ValidateDataSourceConfig(self, request: Message, peer: str) -> Message:
        return {"diagnostics": refusals(self._data[request["type_name"]]["block"], load(request["config"]))}

    # Resources

    def UpgradeResourceState(self, request: Message, peer: str) -> Message:
        """States are written by this provider only; what a schema has gained since is null in them."""
        block = self._block(request)
        state = json.loads(request["raw_state"]["json"])
        known = no_value(block)
        return {"upgraded_state": dump({name: state.get(name, known[name]) for name in known})}

    def ReadResource(self, request: Message, peer: str) -> Message:
        state = load(request.get("current_state"))
        live = self._live(request["type_name"], peer)
        if live is None or state is None:
            return {"new_state": request.get("current_state")}
        try:
            found = live.read(state)
        except CloudError as exc:
            return {"new_state": request.get("current_state"), "diagnostics": [error(str(exc))]}
        return {"new_state": dump(found and filled(request["type_name"], self._block(request), found))}

    def PlanResourceChange(self, request: Message, peer: str) -> Message:
        prior, proposed = load(request.get("prior_state")), load(request.get("proposed_new_state"))
        if proposed is None:
            return {"planned_state": request.get("proposed_new_state")}
        block = self._block(request)
        after = completed(request["type_name"], planned(block, proposed, prior), prior, self._of(peer))
        paths = replaced(block, prior, after) if prior is not None else ()
        return {
            "planned_state": dump(after),
            "requires_replace": [path_message(each) for each in paths],
            "legacy_type_system": True,  # as Google's: its plan may differ from the configuration
        }

    def ApplyResourceChange(self, request: Message, peer: str) -> Message:
        prior, after = load(request.get("prior_state")), load(request.get("planned_state"))
        try:
            state = self._applied(request["type_name"], prior, after, peer)
        except CloudError as exc:
            return {"new_state": request.get("prior_state") or dump(None), "diagnostics": [error(str(exc))]}
        return {"new_state": dump(state), "legacy_type_system": True}

    def _applied(self, type_name: str, prior: Object | None, after: Object | None, peer: str) -> Object | None:
        live = self._live(type_name, peer)
        if after is None:
            self._deleted(type_name, prior or {}, live)
            return None
        block = self._resources[type_name]["block"]
        if after.get("project") is UNKNOWN and "projects/" not in repr(after):
            raise CloudError("project: required field is not set")
        if live is not None:
            after = live.create(after) if prior is None else live.update(prior, after)
        elif type_name == "google_storage_bucket_object":
            after = remembered_object(after, self._of(peer).cwd)
        return filled(type_name, block, after)

    def _deleted(self, type_name: str, prior: Object, live: Live | None) -> None:
        policy = prior.get("deletion_policy")
        if policy == "PREVENT":
            raise CloudError(f"cannot destroy {type_name} {prior.get('id')} because deletion_policy is PREVENT")
        if prior.get("deletion_protection"):
            raise CloudError(
                f"cannot destroy {type_name} {prior.get('id')} without setting deletion_protection=false and running "
                "`terraform apply`"
            )
        if live is not None and policy != "ABANDON":
            live.delete(prior)

    def ImportResourceState(self, request: Message, peer: str) -> Message:
        state = {**no_value(self._block(request)), "id": request["id"]}
        return {"imported_resources": [{"type_name": request["type_name"], "state": dump(state)}]}

    def ReadDataSource(self, request: Message, peer: str) -> Message:
        type_name, config = request["type_name"], load(request["config"])
        if type_name == "archive_file":
            try:
                return {"state": dump(archive_file(config, self._of(peer).cwd))}
            except (OSError, ValueError) as exc:
                return {"diagnostics": [error(str(exc))]}
        block = self._data[type_name]["block"]
        value = completed(type_name, planned(block, config, None), None, self._of(peer))
        return {"state": dump(filled(f"data.{type_name}", block, value))}

    def _block(self, request: Message) -> Object:
        block: Object = self._resources[request["type_name"]]["block"]
        return block

    def _of(self, peer: str) -> Settings:
        return self._settings.get(peer) or configured({}, self._env, self._cwd)

    def _live(self, type_name: str, peer: str) -> Live | None:
        settings = self._of(peer)
        if settings.storage and type_name == "google_storage_bucket":
            return Bucket(Cloud(settings.storage, settings.token))
        if settings.storage and type_name == "google_storage_bucket_object":
            return BucketObject(Cloud(settings.storage, settings.token), settings.cwd)
        if settings.tpu and type_name == "google_tpu_v2_vm":
            return Vm(Cloud(settings.tpu, settings.token))
        if settings.tpu and type_name == "google_tpu_v2_queued_resource":
            return QueuedResource(Cloud(settings.tpu, settings.token))
        return None
