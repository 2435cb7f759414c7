"""The worker, in this process, on every backend."""
