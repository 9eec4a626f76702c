"""The playbook for a canary that says HOLD."""
