"""The messages of plugin protocol 5 (package tfplugin5), as far as Terraform 1.9 to 1.11 asks for them."""

from __future__ import annotations

from tests.terraform.standin.wire import Spec

VALUE: Spec = {"msgpack": (1, "bytes"), "json": (2, "bytes")}
_STEP: Spec = {"attribute_name": (1, "string"), "element_key_string": (2, "string"), "element_key_int": (3, "int")}
_PATH: Spec = {"steps": (1, ("rep", _STEP))}
_DIAGNOSTIC: Spec = {
    "severity": (1, "int"), "summary": (2, "string"), "detail": (3, "string"), "attribute": (4, _PATH),
}  # fmt: skip
_DIAGNOSTICS = ("rep", _DIAGNOSTIC)

_ATTRIBUTE: Spec = {
    "name": (1, "string"), "type": (2, "bytes"), "required": (4, "bool"), "optional": (5, "bool"),
    "computed": (6, "bool"), "sensitive": (7, "bool"), "deprecated": (9, "bool"), "write_only": (10, "bool"),
}  # fmt: skip
_BLOCK: Spec = {"version": (1, "int"), "attributes": (2, ("rep", _ATTRIBUTE)), "deprecated": (6, "bool")}
_NESTED: Spec = {
    "type_name": (1, "string"), "block": (2, _BLOCK), "nesting": (3, "int"),
    "min_items": (4, "int"), "max_items": (5, "int"),
}  # fmt: skip
_BLOCK["block_types"] = (3, ("rep", _NESTED))
_SCHEMA: Spec = {"version": (1, "int"), "block": (2, _BLOCK)}
NESTING = {"single": 1, "list": 2, "set": 3, "map": 4, "group": 5}

# get_provider_schema_optional: Terraform need not ask for the schema again once it has it.
_CAPABILITIES: Spec = {"get_provider_schema_optional": (2, "bool")}
_PARAMETER: Spec = {"name": (1, "string"), "type": (2, "bytes")}
_FUNCTION: Spec = {
    "parameters": (1, ("rep", _PARAMETER)), "return": (3, {"type": (1, "bytes")}), "summary": (4, "string"),
}  # fmt: skip
_TYPED: Spec = {"type_name": (1, "string"), "config": (2, VALUE)}
_IMPORTED: Spec = {"type_name": (1, "string"), "state": (2, VALUE), "private": (3, "bytes")}
_NAMED: Spec = {"type_name": (1, "string")}

RPC: dict[str, tuple[Spec, Spec]] = {  # method: (request, response)
    "GetSchema": ({}, {
        "provider": (1, _SCHEMA), "resource_schemas": (2, ("map", _SCHEMA)),
        "data_source_schemas": (3, ("map", _SCHEMA)), "diagnostics": (4, _DIAGNOSTICS),
        "server_capabilities": (6, _CAPABILITIES), "functions": (7, ("map", _FUNCTION))}),
    "GetMetadata": ({}, {
        "server_capabilities": (1, _CAPABILITIES), "data_sources": (3, ("rep", _NAMED)),
        "resources": (4, ("rep", _NAMED))}),
    "PrepareProviderConfig": (
        {"config": (1, VALUE)}, {"prepared_config": (1, VALUE), "diagnostics": (2, _DIAGNOSTICS)}),
    "ValidateResourceTypeConfig": (_TYPED, {"diagnostics": (1, _DIAGNOSTICS)}),
    "ValidateDataSourceConfig": (_TYPED, {"diagnostics": (1, _DIAGNOSTICS)}),
    "UpgradeResourceState": (
        {"type_name": (1, "string"), "version": (2, "int"), "raw_state": (3, {"json": (1, "bytes")})},
        {"upgraded_state": (1, VALUE), "diagnostics": (2, _DIAGNOSTICS)}),
    "Configure": ({"terraform_version": (1, "string"), "config": (2, VALUE)}, {"diagnostics": (1, _DIAGNOSTICS)}),
    "ReadResource": (
        {"type_name": (1, "string"), "current_state": (2, VALUE), "private": (3, "bytes")},
        {"new_state": (1, VALUE), "diagnostics": (2, _DIAGNOSTICS), "private": (3, "bytes")}),
    "PlanResourceChange": (
        {"type_name": (1, "string"), "prior_state": (2, VALUE), "proposed_new_state": (3, VALUE),
         "config": (4, VALUE), "prior_private": (5, "bytes")},
        {"planned_state": (1, VALUE), "requires_replace": (2, ("rep", _PATH)), "planned_private": (3, "bytes"),
         "diagnostics": (4, _DIAGNOSTICS), "legacy_type_system": (5, "bool")}),
    "ApplyResourceChange": (
        {"type_name": (1, "string"), "prior_state": (2, VALUE), "planned_state": (3, VALUE), "config": (4, VALUE),
         "planned_private": (5, "bytes")},
        {"new_state": (1, VALUE), "private": (2, "bytes"), "diagnostics": (3, _DIAGNOSTICS),
         "legacy_type_system": (4, "bool")}),
    "ImportResourceState": (
        {"type_name": (1, "string"), "id": (2, "string")},
        {"imported_resources": (1, ("rep", _IMPORTED)), "diagnostics": (2, _DIAGNOSTICS)}),
    "ReadDataSource": (_TYPED, {"state": (1, VALUE), "diagnostics": (2, _DIAGNOSTICS)}),
    "GetFunctions": ({}, {"functions": (1, ("map", _FUNCTION)), "diagnostics": (2, _DIAGNOSTICS)}),
    "CallFunction": (
        {"name": (1, "string"), "arguments": (2, ("rep", VALUE))},
        {"result": (1, VALUE), "error": (2, {"text": (1, "string")})}),
    "Stop": ({}, {"Error": (1, "string")}),
}  # fmt: skip
