"""What taskq tells the world about itself: logs now; metrics and traces listen in the same way."""
