#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Installs from Debian's packages what is missing for a purpose, and is silent when nothing is.
#
#   scripts/setup.sh build | test | long     (each includes the ones before it)
#   scripts/setup.sh bench                   (includes build)
#
# What only makes tests say "skipped" when it is not there, and what a benchmark can do without, is wanted, not needed: if it cannot be
# installed, that is said in one line and everything goes on.
#
# What is there is found by looking for one file or command of each package, because asking the
# package manager takes longer than an incremental build. As root, or with a sudo that asks no
# password, apt-get does the rest; otherwise the one command to type is printed.
set -u

purpose=${1:-build}
case $purpose in
build | test | long | bench) ;;
*)
    echo "setup: '$purpose' is none of build, test, long, bench." >&2
    exit 2
    ;;
esac

needed=()
wanted=()

# there COMMAND-OR-FILE...: any one of them shows that a package is there.
there()
{
    local sign
    for sign in "$@"; do
        if [[ $sign == /* ]]; then
            if [[ -e $sign ]]; then
                return 0
            fi
        elif command -v "$sign" >/dev/null 2>&1; then
            return 0
        fi
    done
    return 1
}

# need PACKAGE SIGN..., want PACKAGE SIGN...
need()
{
    there "${@:2}" || needed+=("$1")
}

want()
{
    there "${@:2}" || wanted+=("$1")
}

PATH=$PATH:/usr/sbin:/sbin

need make make
need gcc gcc
need libc6-dev /usr/include/stdio.h
need meson meson
need ninja-build ninja
need pkg-config pkg-config
need python3 python3

if [[ $purpose == test || $purpose == long ]]; then
    need libcmocka-dev /usr/include/cmocka.h /usr/local/include/cmocka.h
    need g++ g++
    need clang clang
    need clang-format clang-format
    need cppcheck cppcheck
    need binutils nm
    want netcat-openbsd nc
    want socat socat
    want curl curl
    want haproxy haproxy
    want strace strace
    want valgrind valgrind
    want busybox busybox
    want procps ps
    want spin spin
    want gnuplot-nox gnuplot
    # What examples/adapters put on the loop.
    want libcurl4-openssl-dev /usr/include/*/curl/curl.h /usr/include/curl/curl.h
    want libhiredis-dev /usr/include/hiredis/hiredis.h
    want redis-server redis-server
    want libmemcached-tools memccapable
    want python3-pymemcache /usr/lib/python3/dist-packages/pymemcache
    want python3-pylibmc /usr/lib/python3/dist-packages/pylibmc
    want libc-ares-dev /usr/include/ares.h
fi

if [[ $purpose == long ]]; then
    need valgrind valgrind
    need util-linux setarch
    need gcovr gcovr
    # The sanitizers' libraries: gcc brings its own, clang's come apart.
    need libclang-rt-14-dev /usr/lib/llvm-*/lib/clang/*/lib/linux /usr/lib/clang/*/lib/linux
fi

if [[ $purpose == bench ]]; then
    want g++ g++
    want libuv1-dev /usr/include/uv.h
    want libevent-dev /usr/include/event2/event.h
    want libev-dev /usr/include/ev.h
    want libasio-dev /usr/include/asio.hpp
    want liburing-dev /usr/include/liburing.h
    want gnuplot-nox gnuplot
    want valgrind valgrind
    want strace strace
fi

missing=("${needed[@]}" "${wanted[@]}")
if ((${#missing[@]} == 0)); then
    exit 0
fi

# give_up WHY: an error if something is needed, else one line.
give_up()
{
    local command="sudo apt-get update && sudo apt-get install -y --no-install-recommends ${missing[*]}"
    if ((${#needed[@]} == 0)); then
        echo "setup: without ${wanted[*]} some things are skipped ($1). To have them: $command" >&2
        exit 0
    fi
    printf '%s\n' "Some packages are missing, and $1. Type:" "    $command" >&2
    exit 1
}

run=()
if ! command -v apt-get >/dev/null 2>&1; then
    give_up 'there is no apt-get to install them'
elif ((EUID != 0)); then
    if ! command -v sudo >/dev/null 2>&1 || ! sudo -n true 2>/dev/null; then
        give_up 'installing them needs root'
    fi
    run=(sudo -n)
fi

echo "setup: installing ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install()
{
    "${run[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        "${missing[@]}" >>"$log" 2>&1 </dev/null
}
# The lists of packages may be missing (a fresh container) or old; both show as a failure.
if ! install; then
    if ! "${run[@]}" apt-get update >>"$log" 2>&1 </dev/null || ! install; then
        tail -n 20 "$log" >&2
        give_up 'apt-get could not install them'
    fi
fi
