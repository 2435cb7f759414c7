"""The tests of the Postgres backend."""
