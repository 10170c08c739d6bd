"""Google Cloud Storage's JSON, upload and download APIs, with the objects in a folder."""

from __future__ import annotations

from launcher.sim.gcs.handlers import routes
from launcher.sim.gcs.store import Store

__all__ = ["Store", "routes"]
