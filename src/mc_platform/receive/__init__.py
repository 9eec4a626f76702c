"""Stage 1: HTTP in. A2A routes, agent card, credentials in the middleware, size and rate limits."""

from mc_platform.receive.fast_path import FastPath
from mc_platform.receive.handler import GovernedRequestHandler
from mc_platform.receive.middleware import GatewayMiddleware
from mc_platform.receive.routes import a2a_routes

__all__ = ["FastPath", "GatewayMiddleware", "GovernedRequestHandler", "a2a_routes"]
