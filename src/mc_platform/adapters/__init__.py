"""Adapters, by technology. Only `mc_platform.app` may name them."""
