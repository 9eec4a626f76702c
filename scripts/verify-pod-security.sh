#!/usr/bin/env bash
# The runbook's name for `mcctl preflight pod-security`; takes its options, exits with its code.
set -euo pipefail
beside="$(CDPATH= cd -- "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/.venv/bin"
PATH="$beside:$PATH" exec mcctl preflight pod-security --env "${ENV:-local}" "$@"
