"""Requests to addresses that users name: checked, pinned, bounded, and never on a redirect's or a proxy's word."""

from __future__ import annotations

from taskq.outbound.addresses import Networks, is_public
from taskq.outbound.urls import Target, read_url

__all__ = ["Networks", "Target", "is_public", "read_url"]
