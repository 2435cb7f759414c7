"""The engine: Worker owns Fetcher → Executor → Settler; deliveries flow one way, settlements the other."""
