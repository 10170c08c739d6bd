"""Where a job runs: get a node, connect, run one attempt on it, drop it."""
