#!/bin/sh
# Installs the programs of the system that tests need, where that is possible; else says what to do: a C++ compiler for
# compiled gates, a browser for the page, and what makes several hosts on one machine. Run by `make test`.
set -eu

PATH="$PATH:/usr/sbin:/sbin" # where a user who is not root may have no need to look

missing() {
    for program in ip ss unshare nsenter setsid mount; do
        command -v "$program" >/dev/null || echo "$program"
    done
}

install() {
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "$@" >/dev/null
}

stop() {
    echo "$1; or leave the tests on several hosts out: NO_NETNS=1 make test" >&2
    exit 1
}

if ! command -v g++ >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing g++"
    install g++ 2>/dev/null || { apt-get update -qq && install g++; }
fi
if ! command -v g++ >/dev/null; then
    echo "tests of compiled gates need a C++ compiler: install g++" >&2
    exit 1
fi
if [ -z "${NO_BROWSER:-}" ] && ! { command -v chromium && command -v chromedriver; } >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing chromium, for tests of the page"
        install chromium chromium-driver 2>/dev/null || { apt-get update -qq && install chromium chromium-driver; }
    else
        echo "tests of the page need chromium and chromedriver: install them, or leave these tests out: NO_BROWSER=1" >&2
        exit 1
    fi
fi
if [ -n "${NO_NETNS:-}" ]; then
    exit 0
fi
if [ "$(id -u)" != 0 ]; then
    stop "tests on several hosts need root, and this is user $(id -u): run them as root"
fi
if [ -n "$(missing)" ] && command -v apt-get >/dev/null; then
    echo "installing iproute2 and util-linux, for" $(missing)
    install iproute2 util-linux mount 2>/dev/null || { apt-get update -qq && install iproute2 util-linux mount; }
fi
if [ -n "$(missing)" ]; then
    stop "tests on several hosts need $(echo $(missing)): install iproute2 and util-linux"
fi
