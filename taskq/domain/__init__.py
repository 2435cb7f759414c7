"""The rules of taskq, pure: no clock, no input or output, no randomness of its own."""
