"""Stage 1: HTTP in. A2A routes, agent card, credentials at the door, size and rate limits."""

from mc_platform.receive.door import Door
from mc_platform.receive.handler import GovernedRequestHandler
from mc_platform.receive.routes import a2a_routes

__all__ = ["Door", "GovernedRequestHandler", "a2a_routes"]
