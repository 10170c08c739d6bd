"""`python agent.pyz start | follow JOB ATTEMPT OFFSET | stop JOB ATTEMPT REASON | run FOLDER`."""

from __future__ import annotations

import sys

from launcher.agent.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
