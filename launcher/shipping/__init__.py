"""What travels with a call: the payload, the project, the locked environment, and the agent itself.

Imported when a call is made, not with `import launcher`: it loads cloudpickle and pathspec.
"""

from __future__ import annotations

from launcher.shipping.agent_archive import AgentArchive, agent_archive
from launcher.shipping.archive import megabytes
from launcher.shipping.environment import check_python
from launcher.shipping.listing import Listing, describe
from launcher.shipping.local_blob import LocalBlob
from launcher.shipping.packing import DEFAULT_MAX_ARCHIVE_BYTES, Packed, pack, upload
from launcher.shipping.walk import Entry, LeftOut

__all__ = [
    "DEFAULT_MAX_ARCHIVE_BYTES",
    "AgentArchive",
    "Entry",
    "LeftOut",
    "Listing",
    "LocalBlob",
    "Packed",
    "agent_archive",
    "check_python",
    "describe",
    "megabytes",
    "pack",
    "upload",
]
