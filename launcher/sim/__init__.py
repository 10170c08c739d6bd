"""A Cloud TPU API, GCS and SSH-reachable workers on this machine, speaking Google's own protocols.

Run as a process (`python -m launcher.sim`); the library knows it only by its endpoints.
"""

from __future__ import annotations
