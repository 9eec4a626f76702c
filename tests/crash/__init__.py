"""The crash test: break a running platform at random moments, then account for everything.

    .venv/bin/python -m tests.crash --kills 200 --seed 7 --json crash.json

    platform.py     a platform of its own in a temporary folder: start, kill, pause, start again
    load.py         clients that send a mix of work and keep what was acknowledged to them
    faults.py       the plan of faults (drawn from the seed) and the supervisor that carries it out
    adoption.py     how soon a dead or paused replica's operations go on elsewhere
    evidence.py     reads what there is afterwards: ledger, tasks, SIEM, effects, backup file
    accounting.py   compares what was promised with what there is; pure, so it is tested itself
    run.py          the order of a run, and its report

It uses the platform from outside: HTTP, signals, and, to account for what happened, the database
as its superuser. It never imports the workbench.
"""
