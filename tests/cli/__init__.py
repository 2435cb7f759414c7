"""The command line, as a user runs it: in a process of its own, from a folder with an application."""
