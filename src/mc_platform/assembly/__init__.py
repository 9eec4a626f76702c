"""Parts of one replica that `app.py` puts together: each knows its own dependencies and no other."""
