"""Cedar: the decision point, and what reloads and tries policy sets."""
