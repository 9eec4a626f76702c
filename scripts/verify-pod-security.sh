#!/usr/bin/env -S bash -p
# The runbook's name for `mcctl preflight pod-security`; takes its options, exits with its code.
# By -p no function, option or start-up file of the caller's shell steers it: `noexec` would pass.
set -euo pipefail
beside="$(CDPATH= cd -- "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/.venv/bin"
PATH="$beside:$PATH" exec mcctl preflight pod-security --env "${ENV:-local}" "$@"
