#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Installs from Debian's packages what is missing for a purpose, and is silent when nothing is.
#
#   scripts/setup.sh build | test | long     (each includes the ones before it)
#
# What is there is found by looking for one file or command of each package, because asking the
# package manager takes longer than an incremental build. As root, or with a sudo that asks no
# password, apt-get does the rest; otherwise the one command to type is printed.
set -u

purpose=${1:-build}
case $purpose in
build | test | long) ;;
*)
    echo "setup: '$purpose' is none of build, test, long." >&2
    exit 2
    ;;
esac

missing=()

# need PACKAGE COMMAND-OR-FILE...: any one of them shows that the package is there.
need()
{
    local package=$1 sign
    shift
    for sign in "$@"; do
        if [[ $sign == /* ]]; then
            if [[ -e $sign ]]; then
                return
            fi
        elif command -v "$sign" >/dev/null 2>&1; then
            return
        fi
    done
    missing+=("$package")
}

PATH=$PATH:/usr/sbin:/sbin

need gcc gcc
need libc6-dev /usr/include/stdio.h
need meson meson
need ninja-build ninja
need pkg-config pkg-config
need python3 python3

if [[ $purpose != build ]]; then
    need libcmocka-dev /usr/include/cmocka.h /usr/local/include/cmocka.h
    need g++ g++
    need clang clang
    need clang-format clang-format
    need cppcheck cppcheck
    need binutils nm
    need netcat-openbsd nc
    need socat socat
    need curl curl
    need haproxy haproxy
    need strace strace
    need busybox busybox
    need procps ps
fi

if [[ $purpose == long ]]; then
    need valgrind valgrind
    need util-linux setarch
    # The sanitizers' libraries: gcc brings its own, clang's come apart.
    need libclang-rt-14-dev /usr/lib/llvm-*/lib/clang/*/lib/linux /usr/lib/clang/*/lib/linux
fi

if ((${#missing[@]} == 0)); then
    exit 0
fi

run=()
if ((EUID != 0)); then
    if command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        run=(sudo -n)
    else
        run=(none)
    fi
fi
if [[ ${run[0]:-} == none ]] || ! command -v apt-get >/dev/null 2>&1; then
    echo "Some packages are missing and this script may not install them. Type:" >&2
    echo "    sudo apt-get update && sudo apt-get install -y --no-install-recommends ${missing[*]}" >&2
    exit 1
fi

echo "setup: installing ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install()
{
    "${run[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        "${missing[@]}" >"$log" 2>&1 </dev/null
}
# The lists of packages may be missing (a fresh container) or old; both show as a failure.
if ! install; then
    if ! "${run[@]}" apt-get update >"$log" 2>&1 </dev/null || ! install; then
        cat "$log" >&2
        echo "setup: apt-get could not install ${missing[*]}; its words are above." >&2
        exit 1
    fi
fi
