"""The siege: a hostile tenant and a hostile agent against a running platform, beside an honest tenant.

`python -m tests.siege --minutes 20` (or `make siege MINUTES=20`) starts a platform, measures the honest
tenant alone, lets the others loose, and judges: no foreign byte reached anybody, no answer was a 5xx or
an internal error, the honest tenant's p95 held, the replica's memory stayed flat.
"""
