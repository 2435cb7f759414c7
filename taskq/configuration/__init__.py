"""The configuration: a file, variables and arguments, checked, shown, and read again without a restart.

>>> from taskq.configuration import load
>>> load(environment={"TASKQ_WORKER__CONCURRENCY": "20"}, folder="/").worker_options.concurrency
20
"""

from __future__ import annotations

from taskq.configuration.findings import Finding, WrongConfiguration
from taskq.configuration.loading import Configuration, load

__all__ = ["Configuration", "Finding", "WrongConfiguration", "load"]
