"""Stage 2: a bearer credential becomes a principal of exactly one tenant."""

from mc_platform.authenticate.bearer import Authenticator
from mc_platform.authenticate.failures import GuardedAuthenticator

__all__ = ["Authenticator", "GuardedAuthenticator"]
