"""What taskq brings to pytest; loaded at each start of pytest, so it imports nothing else of taskq."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from taskq.testing.harness import Harness

# The kit's tests live in an installed package, whose assertions pytest would leave as they are.
pytest.register_assert_rewrite("taskq.testing.conformance")


@pytest.fixture
def taskq_harness() -> type[Harness]:
    """The harness for tests of your own tasks: `async with taskq_harness(app) as harness: …`."""
    from taskq.testing.harness import Harness  # nothing of taskq is loaded for tests that do not ask for it

    return Harness
