"""The seams to what we do not own: the Cloud TPU API, GCS, SSH, what a project says of itself, GKE, Terraform's state.
The only modules that import their libraries, and the only ones that turn their errors into ours."""

from __future__ import annotations

import importlib
import threading


def preload(*libraries: str) -> None:
    """Imports libraries in the background (0.2 to 0.5 s each), while the caller packs or waits for an answer."""
    threading.Thread(target=lambda: [importlib.import_module(name) for name in libraries], daemon=True).start()
