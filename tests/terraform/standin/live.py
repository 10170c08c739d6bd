"""Resources that act. Each sends the REST requests of Google's provider, and its state is what the service says."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

from tests.terraform.standin.values import UNKNOWN, Object


class Live(Protocol):
    """One resource type. Errors are CloudError, with the words of Google's provider."""

    def create(self, planned: Object) -> Object: ...

    def read(self, state: Object) -> Object | None:
        """None: it is gone."""

    def update(self, prior: Object, planned: Object) -> Object: ...

    def delete(self, prior: Object) -> None: ...


@dataclasses.dataclass(frozen=True)
class Field:
    """One argument and the field of the service's that it is: `to_api` and `from_api` translate.

    What the service says is not read letter by letter: as Google's provider does it, an argument stays as the
    configuration has it while it means the same to the service.
    """

    argument: str
    name: str
    to_api: Callable[[Any], Any] = lambda value: value
    from_api: Callable[[Any], Any] = lambda value: value

    def sent(self, state: Object) -> Any:
        """What goes into a request: None where nothing is said."""
        return self.to_api(known(state[self.argument]))

    def observed(self, state: Object, answer: Object) -> Any:
        """The argument's value in the state after this answer."""
        value = state[self.argument]
        found = self.from_api(answer.get(self.name))
        if value is not UNKNOWN and _meaning(self.to_api(known(value))) == _meaning(self.to_api(found)):
            return value
        return found


def body(fields: tuple[Field, ...], state: Object) -> Object:
    sent = {field.name: field.sent(state) for field in fields}
    return {name: value for name, value in sent.items() if value not in (None, "", {}, [])}


def observed(fields: tuple[Field, ...], state: Object, answer: Object) -> Object:
    return {**state, **{field.argument: field.observed(state, answer) for field in fields}}


def observed_labels(state: Object, answer: Object) -> Object:
    """labels holds only what the configuration says of them; effective_labels all."""
    found: Object = answer.get("labels") or {}

    def own(name: str) -> Any:
        mine = known(state[name])
        return {key: found[key] for key in mine if key in found} if mine else mine

    return {"labels": own("labels"), "terraform_labels": own("terraform_labels"), "effective_labels": found}


def known(value: Any) -> Any:
    """Without what is unknown."""
    if isinstance(value, dict):
        return {key: known(each) for key, each in value.items() if each is not UNKNOWN}
    if isinstance(value, list):
        return [known(each) for each in value if each is not UNKNOWN]
    return None if value is UNKNOWN else value


def _meaning(value: Any) -> Any:
    """Without what says nothing, for null and a type's zero value mean the same."""
    if isinstance(value, dict):
        inner = {key: _meaning(each) for key, each in value.items()}
        return {key: each for key, each in inner.items() if each is not None} or None
    if isinstance(value, list):
        return [_meaning(each) for each in value] or None
    return value or None


def first(value: Any) -> Object:
    """The block of a list that holds one at most."""
    return value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else {}
