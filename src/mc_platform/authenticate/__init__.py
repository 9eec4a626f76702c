"""Stage 2: a bearer credential becomes a principal of exactly one tenant."""

from mc_platform.authenticate.bearer import Authenticator

__all__ = ["Authenticator"]
