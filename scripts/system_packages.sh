#!/bin/sh
# Installs the programs of the system that tests on several hosts need (tests/hosts), where that is possible; else says
# what to do. Run by `make test`.
set -eu

PATH="$PATH:/usr/sbin:/sbin" # where a user who is not root may have no need to look

missing() {
    for program in ip ss unshare nsenter setsid mount; do
        command -v "$program" >/dev/null || echo "$program"
    done
}

install() {
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends iproute2 util-linux mount >/dev/null
}

stop() {
    echo "$1; or leave the tests on several hosts out: NO_NETNS=1 make test" >&2
    exit 1
}

if [ -n "${NO_NETNS:-}" ]; then
    exit 0
fi
if [ "$(id -u)" != 0 ]; then
    stop "tests on several hosts need root, and this is user $(id -u): run them as root"
fi
if [ -n "$(missing)" ] && command -v apt-get >/dev/null; then
    echo "installing iproute2 and util-linux, for" $(missing)
    install 2>/dev/null || { apt-get update -qq && install; }
fi
if [ -n "$(missing)" ]; then
    stop "tests on several hosts need $(echo $(missing)): install iproute2 and util-linux"
fi
