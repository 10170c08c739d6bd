"""HMAC-SHA256 over a report, with the job's own key: who holds the key can tell a forged ending."""

from __future__ import annotations

import hashlib
import hmac
import secrets

_CONTEXT = b"tpu-launcher report v1\n"  # a signature made for something else never fits here


def new_key() -> str:
    """A fresh job key: 256 random bits, hexadecimal."""
    return secrets.token_hex(32)


def sign(key: str, report: str) -> str:
    """The signature of a report's exact text, hexadecimal."""
    return hmac.new(bytes.fromhex(key), _CONTEXT + _bytes(report), hashlib.sha256).hexdigest()


def verify(key: str, report: str, signature: str) -> bool:
    """Whether `signature` was made with `key` over exactly this text (constant time)."""
    return hmac.compare_digest(_bytes(sign(key, report)), _bytes(signature))


def _bytes(text: str) -> bytes:
    """Of any text, also what a forger could put into JSON: lone surrogates."""
    return text.encode("utf-8", "surrogatepass")
