"""What stands between the request path and its stages; one package, so that the path is one page."""
