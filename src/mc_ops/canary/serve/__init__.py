"""The canary's judge behind HTTP, for Argo Rollouts and Flagger; docs/reference/canary-serve.md.

`configuration` says which comparisons there are, `comparisons` begins them and reads what came of
them, `server` speaks both protocols.
"""
