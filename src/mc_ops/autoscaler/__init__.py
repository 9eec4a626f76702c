"""A HorizontalPodAutoscaler over time: its algorithm replayed, what it did, whether it oscillates."""
