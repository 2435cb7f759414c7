"""The application layer, on the memory backend."""
