"""The platform's neighbours on a laptop: two A2A agents and a SIEM receiver, each its own process.

They are real servers with synthetic data. None of them is part of the platform.
"""
