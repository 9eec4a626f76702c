"""What is looked for in one decoded text."""
