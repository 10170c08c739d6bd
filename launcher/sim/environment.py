"""What a command on a simulated worker finds in its environment, and which Python is `python3` there.

Nothing of the client's environment is passed on but what a machine image of its organisation would hold as
well: certificates and the package index. A TPU image sets variables of its own; so does this.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from launcher.sim.worker_spec import WorkerSpec

_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_PACKAGE_INDEX = (
    *(
        "PIP_CERT",
        "PIP_CLIENT_CERT",
        "PIP_CONFIG_FILE",
        "PIP_DEFAULT_TIMEOUT",
        "PIP_DISABLE_PIP_VERSION_CHECK",
    ),
    *(
        "PIP_EXTRA_INDEX_URL",
        "PIP_FIND_LINKS",
        "PIP_INDEX_URL",
        "PIP_NO_INDEX",
        "PIP_RETRIES",
        "PIP_TRUSTED_HOST",
    ),
    *("UV_CONFIG_FILE", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_HTTP_RETRIES"),
    *(
        "UV_HTTP_TIMEOUT",
        "UV_INSECURE_HOST",
        "UV_KEYRING_PROVIDER",
        "UV_LINK_MODE",
        "UV_NATIVE_TLS",
        "UV_NO_INDEX",
    ),
    *("UV_OFFLINE", "UV_PYTHON_INSTALL_MIRROR", "UV_REQUEST_TIMEOUT", "UV_SYSTEM_CERTS"),
)
#: Also UV_INDEX_URL, UV_INDEX_STRATEGY and the credentials of a named index, UV_INDEX_<NAME>_….
_PACKAGE_INDEX_PREFIX = "UV_INDEX"
#: Settings files in the client's home folder, which is not a worker's, and the variable that names each.
_SETTINGS_FILES = {"PIP_CONFIG_FILE": "pip/pip.conf", "UV_CONFIG_FILE": "uv/uv.toml"}


def host_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The certificate and package index settings in `environment` and its home folder; uv's cache is shared.

    With the cache, a package that the host has is hard-linked into a worker's environment, not fetched again.
    """
    settings = {
        name: value
        for name, value in environment.items()
        if name in _CERTIFICATES or name in _PACKAGE_INDEX or name.startswith(_PACKAGE_INDEX_PREFIX)
    }
    home = Path(environment.get("HOME") or Path.home())
    configuration = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    for name, file in _SETTINGS_FILES.items():
        if name not in settings and (configuration / file).is_file():
            settings[name] = str(configuration / file)
    cache = Path(environment.get("XDG_CACHE_HOME") or home / ".cache")
    settings["UV_CACHE_DIR"] = environment.get("UV_CACHE_DIR") or str(cache / "uv")
    return settings


def accelerator_settings(spec: WorkerSpec, coordinator_port: int) -> dict[str, str]:
    """What makes JAX see `chips` CPU devices, and the hosts of a slice find each other, with no argument."""
    settings = {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={spec.chips}",
    }
    if len(spec.peers) > 1:
        # Without chips JAX does not ask the metadata server who its peers are, unless forced to (jax 0.10).
        settings |= {
            "JAX_FORCE_TPU_INIT": "1",
            "JAX_COORDINATOR_PORT": str(coordinator_port),
            "TPU_WORKER_HOSTNAMES": ",".join(spec.peers),
            "TPU_WORKER_ID": str(spec.worker),
        }
    return settings


def machine_settings(home: Path, tmp: Path, bin_folder: Path, clock: Path, metadata_address: str) -> dict[str, str]:
    """What any machine with a metadata server sets: folders, search path, locale; and where its time comes from."""
    return {
        "HOME": str(home),
        "SHELL": "/bin/sh",
        "PATH": f"{bin_folder}:/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "TMPDIR": str(tmp),
        "LAUNCHER_CLOCK": str(clock),
        "GCE_METADATA_HOST": metadata_address,
        "GCE_METADATA_IP": metadata_address,
        "GCE_METADATA_ROOT": metadata_address,
    }


def user_settings(user: str) -> dict[str, str]:
    """What a login sets."""
    return {"USER": user, "LOGNAME": user}


def write_interpreters(folder: Path) -> None:
    """Make `python3` and `python3.N` in `folder` the interpreter this one is based on.

    Scripts, not links: through a link, an environment made with it would record `folder` as Python's home.
    A name alone could be a version manager's shim, which answers 127 for a version that is not selected.
    """
    folder.mkdir(parents=True, exist_ok=True)
    base = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
    for name in ("python3", f"python3.{sys.version_info.minor}"):
        write_script(folder / name, f'#!/bin/sh\nexec {shlex.quote(base)} "$@"\n')


def write_script(path: Path, text: str) -> None:
    """A command of a worker."""
    path.write_text(text)
    path.chmod(0o755)
