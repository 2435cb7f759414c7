"""Tests for users of taskq and for those who write a backend; nothing here is imported by the product."""
