"""What the configuration says, to whom, and what is wrong with it."""
