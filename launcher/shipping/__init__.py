"""What travels with a call: the payload, the project, the locked environment, and the agent itself.

Imported when a call is made, not with `import launcher`: it loads cloudpickle and pathspec.
"""

from __future__ import annotations

from launcher.shipping.agent_archive import agent_archive
from launcher.shipping.listing import Listing, describe
from launcher.shipping.packing import Packed, pack, upload
from launcher.shipping.walk import Entry

__all__ = ["Entry", "Listing", "Packed", "agent_archive", "describe", "pack", "upload"]
