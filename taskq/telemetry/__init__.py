"""What taskq tells the world about itself: logs here, traces in `tracing`, which needs OpenTelemetry."""

from taskq.context import correlated
from taskq.telemetry.logs import TaskFields, configure

__all__ = ["TaskFields", "configure", "correlated"]
