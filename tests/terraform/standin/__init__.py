"""A stand-in for Google's Terraform provider: the same schemas, over Terraform's plugin protocol 5, and no account.

Most resources are only remembered: what the configuration leaves out gets a value of the form that Google gives
it, or stays unknown until then. Buckets, objects, queued resources and TPU VMs act (live.py): given an endpoint,
they send it the REST requests that Google's provider sends.
"""

from __future__ import annotations
