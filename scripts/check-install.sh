#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Installs into a scratch folder and is a program there: scripts/check-install.sh BUILD. The headers,
# both libraries and peal.pc must do together, say the same version, and be hardened.
set -u
cd "$(dirname "$0")/.."
folder=${1:-build}
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

fail()
{
    echo "$1"
    exit 1
}

DESTDIR=$stage meson install -C "$folder" --no-rebuild --quiet >"$stage/log" 2>&1 ||
    fail "meson.build:1: meson install fails: $(cat "$stage/log")"
pc=$(find "$stage" -name peal.pc)
[[ -n $pc ]] || fail 'meson.build:1: no peal.pc is installed.'
prefix=$(sed -n 's/^prefix=//p' "$pc")
libdir=$(dirname "$(dirname "$pc")")
export PKG_CONFIG_PATH
PKG_CONFIG_PATH=$(dirname "$pc")
config=(pkg-config --define-variable=prefix="$stage$prefix")
read -ra flags < <("${config[@]}" --cflags --libs peal)
read -ra all < <("${config[@]}" --static --cflags --libs peal)

for header in include/peal.h include/peal/*.h; do
    cmp -s "$header" "$stage$prefix/$header" ||
        fail "meson.build:1: $header is not installed as $prefix/$header."
done

gcc -Wall -Wextra -Werror test/headers/consumer.c -o "$stage/c" "${flags[@]}" ||
    fail 'test/headers/consumer.c:1: does not compile as C with the flags of peal.pc.'
g++ -std=c++17 -Wall -Wextra -Werror -x c++ test/headers/consumer.c -x none -o "$stage/cxx" "${flags[@]}" ||
    fail 'test/headers/consumer.c:1: does not compile as C++ with the flags of peal.pc.'
gcc test/headers/consumer.c -o "$stage/static" "${all[@]/-lpeal/-l:libpeal.a}" ||
    fail 'test/headers/consumer.c:1: does not link with the static library.'

read -ra sim < <("${config[@]}" --cflags --libs peal-sim)
gcc -Wall -Wextra -Werror test/headers/sim_consumer.c -o "$stage/sim" "${sim[@]}" ||
    fail 'test/headers/sim_consumer.c:1: does not compile with the flags of peal-sim.pc.'
"$stage/sim" run --seeds 20 --keep "$stage/kept" >"$stage/log" ||
    fail "test/headers/sim_consumer.c:1: fails in the simulated system: $(cat "$stage/log")"

version=$(pkg-config --modversion peal)
for program in c cxx static; do
    said=$(LD_LIBRARY_PATH=$libdir "$stage/$program")
    [[ $said == "$version" ]] ||
        fail "include/peal/version.h:1: the library says version '$said', meson.build says '$version'; they must agree."
done

dynamic=$(readelf -dW "$libdir/libpeal.so")
[[ $dynamic == *'[libpeal.so.0]'* ]] || fail 'meson.build:1: the SONAME is not libpeal.so.0.'
[[ $dynamic == *BIND_NOW* ]] || fail 'meson.build:1: the library is not linked with -z now.'
[[ $(readelf -lW "$libdir/libpeal.so") == *GNU_RELRO* ]] ||
    fail 'meson.build:1: the library is not linked with -z relro.'
needs=$(readelf -dW "$libdir/libpeal.so" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' | grep -v '^libc\.so\|^ld-linux' || true)
[[ -z $needs ]] || fail "meson.build:1: the library needs $needs; the core needs the C library alone."
"$stage$prefix/bin/peal" --help >/dev/null || fail 'tools/meson.build:1: the installed program does not run.'
