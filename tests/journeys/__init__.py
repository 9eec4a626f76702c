"""Stories told on whole platforms of real processes."""
