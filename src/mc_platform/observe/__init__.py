"""What the service tells of itself: metrics, structured logs, health."""
