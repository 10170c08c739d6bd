"""Google's other services, as far as a platform declares them: a strict resource store, and what is cheap behind it.

A table per service says where its resources are, how they are named and what the server adds (tables.py); one handler
creates, reads, lists, changes and deletes them all (handler.py).
"""

from __future__ import annotations

from launcher.sim.services.backend import Backend
from launcher.sim.services.routes import routes
from launcher.sim.services.store import Store

__all__ = ["Backend", "Store", "routes"]
