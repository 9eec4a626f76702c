"""What a canary run shows to people: page, picture, summary."""
