"""What may break a rule of this folder, and why; an entry that is no longer needed fails, so the lists only shrink."""

# A file, `path`, or a definition in it, `path::Class.method`, over a limit of test_size.
SIZE: dict[str, str] = {}

# A test or helper, `path::function`, that sleeps for a fixed time.
SLEEPS: dict[str, str] = {}
