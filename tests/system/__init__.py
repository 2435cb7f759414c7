"""Real processes, real signals, real stores that die: what is left to count afterwards."""
