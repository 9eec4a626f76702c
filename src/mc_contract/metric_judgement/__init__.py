"""The verdict on a canary's metrics."""
