"""taskq on Redis 7.0 or newer and Valkey 7.2 or newer: standalone, Sentinel, Cluster."""

from taskq_redis.backend import RedisBackend, create_backend

__all__ = ["RedisBackend", "create_backend"]
