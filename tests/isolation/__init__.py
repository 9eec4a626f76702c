"""What one tenant, agent or client may do to a replica, and what it does to its neighbours."""
