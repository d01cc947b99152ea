#!/bin/sh
# One network on three hosts, which this machine makes for it out of namespaces; needs root.
#   examples/three_hosts.sh           trains there, and checks that nothing is left
#   examples/three_hosts.sh --dry     only shows what is typed on which host
#   examples/three_hosts.sh --shells  says how to open a shell on each host
set -eu
cd "$(dirname "$0")/.."
exec "${PYTHON:-.venv/bin/python}" -m scripts.three_hosts "$@"
