"""The playbook for a SIEM that does not take events."""
