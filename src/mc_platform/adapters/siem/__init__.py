"""SIEM sinks: one module for each vendor's protocol."""
