"""What Terraform is told will become of a resource: values, defaults, what is known only later, what is replaced."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.terraform.standin.schema import hint
from tests.terraform.standin.values import UNKNOWN, Object, Path, is_empty, items


def planned(block: Object, proposed: Object, prior: Object | None) -> Object:
    """`proposed` with defaults, and with what Google fills in: as it was, or unknown where it is new.

    Terraform has already put the prior value of a computed argument that is not configured into `proposed`.
    """
    out = dict(proposed)
    for name, attribute in block.get("attributes", {}).items():
        before = prior.get(name) if prior else None
        if attribute.get("write_only"):
            out[name] = None
        elif out[name] is None:
            out[name] = _unset(attribute, before, prior is None)
        elif prior is not None and is_empty(out[name]) and is_empty(before):
            out[name] = before
    for name, nested in block.get("block_types", {}).items():
        before = prior.get(name) if prior else None
        if hint(nested, "computed") and out[name] == []:
            out[name] = UNKNOWN if prior is None else before
        else:
            out[name] = _planned_blocks(nested, out[name], before)
    return out


def _unset(attribute: Object, before: Any, is_new: bool) -> Any:
    default = hint(attribute, "default")
    if default is not None and attribute.get("optional"):
        return default
    if attribute.get("computed"):
        return UNKNOWN if is_new else before
    return None


def _planned_blocks(nested: Object, value: Any, before: Any) -> Any:
    mode = nested["nesting_mode"]
    if mode == "single":
        known = before if isinstance(before, dict) else None
        return planned(nested["block"], value, known) if isinstance(value, dict) else value
    if not isinstance(value, list):
        return value
    same = mode == "list" and isinstance(before, list) and len(before) == len(value)
    return [
        planned(nested["block"], each, before[at] if same else None) if isinstance(each, dict) else each
        for at, each in enumerate(value)
    ]


def replaced(block: Object, prior: Object, after: Object, path: Path = ()) -> Iterator[Path]:
    """The paths of changes that only a new resource can have."""
    for name, attribute in block.get("attributes", {}).items():
        if hint(attribute, "force_new") and not _same(attribute["type"], prior.get(name), after.get(name)):
            yield (*path, name)
    for name, nested in block.get("block_types", {}).items():
        old, new = prior.get(name), after.get(name)
        if (
            nested["nesting_mode"] == "list"
            and isinstance(old, list)
            and isinstance(new, list)
            and len(old) == len(new)
        ):
            for at, (before, now) in enumerate(zip(old, new, strict=True)):
                if isinstance(now, dict):
                    yield from replaced(nested["block"], before, now, (*path, name, at))
        elif old != new and (hint(nested, "force_new") or _any_forces(nested)):
            yield (*path, name)


def _same(type_: object, before: object, now: object) -> bool:
    if isinstance(type_, list) and type_[0] == "set" and isinstance(before, list) and isinstance(now, list):
        return sorted(map(repr, before)) == sorted(map(repr, now))
    return before == now or (is_empty(before) and is_empty(now))


def _any_forces(nested: Object) -> bool:
    """Whether some argument of a set's or a list's new element would force a new resource."""
    attributes = nested["block"].get("attributes", {}).values()
    return any(hint(each, "force_new") for each in attributes)


def walk(block: Object, value: Object, path: Path = ()) -> Iterator[tuple[Object, object, Path]]:
    """(schema, value, path) of every argument and nested block type."""
    for name, attribute in block.get("attributes", {}).items():
        yield attribute, value.get(name), (*path, name)
    for name, nested in block.get("block_types", {}).items():
        yield nested, value.get(name), (*path, name)
        for key, each in items(nested, value.get(name)):
            yield from walk(nested["block"], each, (*path, name) if key is None else (*path, name, key))
