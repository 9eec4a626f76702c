"""PostgreSQL: one module for each port; `pools` has the connections."""
