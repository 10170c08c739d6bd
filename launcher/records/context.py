"""Where a job's processes find their place in it. Imported by every decorated module: it imports nothing."""

from __future__ import annotations

CONTEXT_VARIABLE = "LAUNCHER_CONTEXT"  # set by the agent, as JSON, in the environment of a job
