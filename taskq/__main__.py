"""`taskq` and `python -m taskq`."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from taskq.cli import main as run  # click is loaded by the command line alone

    run()


if __name__ == "__main__":
    main()
