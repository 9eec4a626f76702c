"""Adapters, by technology. Only `app` and the commands beside it may name them."""
