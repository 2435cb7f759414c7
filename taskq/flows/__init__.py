"""Workflows and batches: many tasks that are stored, counted and steered together."""
