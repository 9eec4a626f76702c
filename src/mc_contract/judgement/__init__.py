"""The canary's verdict, so that anyone can compute it again."""
