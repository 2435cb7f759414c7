"""What taskq brings to pytest; loaded at each start of pytest, so it imports nothing else of taskq."""

from __future__ import annotations

import pytest

# The kit's tests live in an installed package, whose assertions pytest would leave as they are.
pytest.register_assert_rewrite("taskq.testing.conformance")
