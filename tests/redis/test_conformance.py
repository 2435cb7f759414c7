"""The conformance kit on a plain Redis and on a cluster with four shards."""

from __future__ import annotations

from uuid import uuid4

import pytest

from taskq.ports import BackendOptions
from taskq.testing.conformance import BackendConformance, CloneWakingRules, FreshBackend
from taskq_redis import create_backend


class TestRedisBackend(BackendConformance, CloneWakingRules):
    """One server, one shard."""

    @pytest.fixture
    def fresh_backend(self, redis_url: str) -> FreshBackend:
        return lambda: create_backend(redis_url, BackendOptions(namespace=uuid4().hex))


class TestRedisClusterBackend(BackendConformance, CloneWakingRules):
    """A cluster, four shards; what takes a call to each of them must fit into the kit's shortest lease."""

    tick = 0.3

    @pytest.fixture
    def fresh_backend(self, redis_cluster_url: str) -> FreshBackend:
        return lambda: create_backend(redis_cluster_url, BackendOptions(namespace=uuid4().hex))
