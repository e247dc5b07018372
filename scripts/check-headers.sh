#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Each public header compiles alone, and twice in one file, as C11 and as C++17, with gcc and with
# clang, without a warning; peal.h includes them all but sim.h, which is of another library; each header inside compiles alone as C.
set -u
cd "$(dirname "$0")/.."
warnings=(-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror -fsyntax-only)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# compile HEADER COMPILER FLAGS...: a translation unit of nothing but the header, twice.
compile()
{
    local header=$1 said
    shift
    if ! said=$(printf '#include <%s>\n#include <%s>\nextern int not_empty;\n' "$header" "$header" |
        "$@" "${warnings[@]}" - 2>&1); then
        echo "include/$header:1: does not compile alone with $1; the compiler says:"
        echo "$said" | sed 's/^/    /'
    fi
}

all_of()
{
    local header
    for header in peal.h $(cd include && echo peal/*.h); do
        compile "$header" "$@"
    done
}

{
    all_of gcc -x c -std=c11 -Iinclude &
    all_of clang -x c -std=c11 -Iinclude &
    wait
    all_of g++ -x c++ -std=c++17 -Iinclude &
    all_of clang++ -x c++ -std=c++17 -Iinclude &
    wait
} >"$scratch/findings"

for header in include/peal/*.h; do
    if [[ $header == include/peal/sim.h ]]; then
        continue # for tests, and of another library
    fi
    if ! grep -q "^#include <${header#include/}>" include/peal.h; then
        echo "include/peal.h:1: does not include <${header#include/}>; add it." >>"$scratch/findings"
    fi
done

warnings=(-Wall -Wextra -Werror -fsyntax-only)
for header in $(cd src && echo */*.h); do
    compile "$header" gcc -x c -std=gnu11 -D_GNU_SOURCE -Iinclude -Isrc |
        sed 's|^include/|src/|' >>"$scratch/findings"
done

cat "$scratch/findings"
[[ ! -s $scratch/findings ]]
