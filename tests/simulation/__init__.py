"""A year of a team's work against the real rules, in simulated time: `make simulate`."""
