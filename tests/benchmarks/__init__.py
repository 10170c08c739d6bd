"""Figures beside their goals: `python -m tests.benchmarks`, or `make bench`. Not collected by pytest."""
