"""Protobuf's wire format, as much as Terraform's plugin protocol takes, without generated code.

A message is {field name: (number, kind)}. A kind is "bytes", "string", "int", "bool" or a message, and may be
wrapped: ("rep", kind) is repeated, ("map", kind) a map from strings. Unknown fields are skipped, and so is, when
encoding, what is None, False or an empty string. An explicit 0 is written: it matters in a oneof.
"""

from __future__ import annotations

from typing import Any

Kind = Any
Spec = dict[str, tuple[int, Kind]]
Message = dict[str, Any]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def encode(spec: Spec, message: Message) -> bytes:
    out = bytearray()
    for name, (number, kind) in spec.items():
        value = message.get(name)
        if value is None or value is False or (value == "" and kind == "string"):
            continue
        values = [value]
        if isinstance(kind, tuple):
            wrap, kind = kind
            values = value
            if wrap == "map":
                values = [{"key": key, "value": each} for key, each in value.items()]
                kind = {"key": (1, "string"), "value": (2, kind)}
        for each in values:
            wire_type, payload = _payload(kind, each)
            out += _varint(number << 3 | wire_type) + payload
    return bytes(out)


def decode(spec: Spec, data: bytes) -> Message:
    names = {number: (name, kind) for name, (number, kind) in spec.items()}
    message: Message = {}
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        raw, at = _read(tag & 7, data, at)
        if tag >> 3 not in names:
            continue
        name, kind = names[tag >> 3]
        if isinstance(kind, tuple):  # no request has a map
            message.setdefault(name, []).append(_value(kind[1], raw))
        else:
            message[name] = _value(kind, raw)
    return message


def _payload(kind: Kind, value: Any) -> tuple[int, bytes]:
    if kind in ("int", "bool"):
        return _VARINT, _varint(int(value))
    if isinstance(kind, dict):
        value = encode(kind, value)
    elif kind == "string":
        value = value.encode()
    return _BYTES, _varint(len(value)) + value


def _value(kind: Kind, raw: Any) -> Any:
    if isinstance(kind, dict):
        return decode(kind, raw)
    if kind == "string":
        return raw.decode()
    if kind == "bool":
        return bool(raw)
    if kind == "int" and raw >= 1 << 63:
        return raw - (1 << 64)
    return raw


def _read(wire_type: int, data: bytes, at: int) -> tuple[Any, int]:
    if wire_type == _VARINT:
        return _read_varint(data, at)
    if wire_type == _BYTES:
        size, at = _read_varint(data, at)
    elif wire_type in (_FIXED64, _FIXED32):
        size = 8 if wire_type == _FIXED64 else 4
    else:
        raise ValueError(f"wire type {wire_type}")
    return data[at : at + size], at + size


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    shift = number = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
