"""What is written down: names, records, the lease state machine, frames, signatures.

Pure data and functions, standard library only (Python 3.10), no I/O: the client, the agent and the
reaper decide with the very same code.
"""
