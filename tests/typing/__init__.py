"""What mypy and pyright say of code that uses taskq."""
