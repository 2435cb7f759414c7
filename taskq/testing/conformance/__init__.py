"""The tests that every backend passes, ours and third parties': one class to subclass.

class TestMyBackend(BackendConformance):
    @pytest.fixture
    def fresh_backend(self):
        return lambda: create_backend("mydb://localhost/test", BackendOptions(namespace=uuid4().hex))

A backend that tells other processes of an end or of work, and does not only poll, subclasses CloneWakingRules as well.
"""

from taskq.testing.conformance.bench import Bench
from taskq.testing.conformance.kit import FreshBackend, Kit
from taskq.testing.conformance.suite import BackendConformance, VirtualTimeConformance
from taskq.testing.conformance.waking import CloneWakingRules

__all__ = ["BackendConformance", "Bench", "CloneWakingRules", "FreshBackend", "Kit", "VirtualTimeConformance"]
