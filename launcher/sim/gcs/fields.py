"""The `fields` parameter: a partial response, as `items(name,size),nextPageToken` or `metadata/owner`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from launcher.sim.gcs.errors import GcsError

_TOKEN = re.compile(r"[A-Za-z0-9_.*-]+|[(),/]")
_Tree = dict[str, "_Tree"]


def select(document: Any, fields: str | None) -> Any:
    """The part of `document` that `fields` names; all of it without `fields`. Raises GcsError 400."""
    if not fields:
        return document
    tokens = _TOKEN.findall(fields)
    if "".join(tokens) != re.sub(r"\s", "", fields):
        raise _bad(fields)
    rest = iter([*tokens, ""])
    tree, stop = _selection(rest, fields)
    if stop:
        raise _bad(fields)
    return _apply(document, tree)


def _selection(tokens: Iterator[str], fields: str) -> tuple[_Tree, str]:
    """Parse up to an unmatched ")" or the end; the token that stopped it comes along."""
    tree: _Tree = {}
    while True:
        node = tree
        token = "/"
        while token == "/":
            name = next(tokens)
            if name in ("", "(", ")", ",", "/"):
                raise _bad(fields)
            node = node.setdefault(name, {})
            token = next(tokens)
        if token == "(":
            inner, stop = _selection(tokens, fields)
            if stop != ")":
                raise _bad(fields)
            node.update(inner)
            token = next(tokens)
        if token != ",":
            return tree, token


def _apply(document: Any, tree: _Tree) -> Any:
    if not tree or tree.get("*") == {}:
        return document
    if isinstance(document, list):
        return [_apply(item, tree) for item in document]
    if not isinstance(document, dict):
        return document
    wanted = {name: tree.get(name, tree.get("*")) for name in document}
    return {name: _apply(document[name], sub) for name, sub in wanted.items() if sub is not None}


def _bad(fields: str) -> GcsError:
    return GcsError(400, "invalidParameter", f"Invalid field selection {fields}", location=("parameter", "fields"))
