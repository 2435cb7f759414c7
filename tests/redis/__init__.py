"""Tests of the Redis adapter, against real servers."""
