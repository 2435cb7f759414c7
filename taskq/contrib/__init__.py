"""Ready-made middleware, for `app.add_middleware`."""

from taskq.contrib.error_hook import ErrorHook
from taskq.contrib.time_window import Hours, TimeWindow

__all__ = ["ErrorHook", "Hours", "TimeWindow"]
