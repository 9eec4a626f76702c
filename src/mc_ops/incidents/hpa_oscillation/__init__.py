"""The playbook for an autoscaler that oscillates."""
