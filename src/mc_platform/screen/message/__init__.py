"""How the strings of a message stand together: walked, joined, and beside each other."""
