#!/bin/sh
# Trains one network on three hosts, which it makes on this machine out of network namespaces. Needs root.
#   examples/three_hosts.sh           trains there, and checks that nothing is left behind
#   examples/three_hosts.sh --dry     only shows the commands for each host
#   examples/three_hosts.sh --shells  says how to open a shell on each host
set -eu
cd "$(dirname "$0")/.."
exec "${PYTHON:-.venv/bin/python}" -m scripts.three_hosts "$@"
