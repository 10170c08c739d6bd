"""The SSH key pair of a profile, and what goes into a node's metadata."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from launcher.config import config_dir, create_private, read_private
from launcher.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class KeyPair:
    """file: the private key (OpenSSH format, 0600). public: `ssh-ed25519 AAAA… launcher`."""

    file: Path
    public: str


def key_pair(profile_name: str) -> KeyPair:
    """The ed25519 key pair of a profile, made the first time it is asked for (by whichever process is first)."""
    path = config_dir() / "keys" / profile_name / "id_ed25519"
    data = read_private(path)
    if data is None:
        new = _new_private_key()
        data = new if create_private(path, new) else read_private(path) or b""
    return KeyPair(path, _public(data, path))


def user_name(owner: str) -> str:
    """The Linux user of this person on every worker: never an existing one, at most 32 characters."""
    return f"l-{owner}"[:32].rstrip("-")


def ssh_keys_metadata(owner: str, pair: KeyPair) -> dict[str, str]:
    """The node metadata that lets this key in, and no key of the project."""
    return {"ssh-keys": f"{user_name(owner)}:{pair.public}", "block-project-ssh-keys": "TRUE"}


def _new_private_key() -> bytes:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )


def _public(private: bytes, path: Path) -> str:
    from cryptography.hazmat.primitives import serialization

    try:
        key = serialization.load_ssh_private_key(private, None)
    except (ValueError, TypeError) as exc:
        raise ConfigError(f"{path} is not a readable OpenSSH private key: {exc}. Move it away.") from exc
    encoded = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return f"{encoded.decode()} launcher"
