"""The program on each worker: it sets an attempt up, supervises it, reports it and ends it.

Standard library and launcher.records only, on a TPU VM's own Python 3.10; the runner, in the job's own environment, has
cloudpickle too.
"""
