#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Whether clang-format would change anything; with --fix, it does. Other versions than 14 disagree
# with it about details, so they are not asked.
set -u
cd "$(dirname "$0")/.."
if ! clang-format --version 2>/dev/null | grep -q 'version 14\.'; then
    echo "skipped: the format is decided by clang-format 14, which is not here."
    exit 77
fi
mapfile -t files < <(find include src tools examples test bench -name '*.[ch]' -o -name '*.cpp' | LC_ALL=C sort)
if [[ ${1:-} == --fix ]]; then
    clang-format -i "${files[@]}"
    # Comments are left alone, unless a line is too long: breaking lines by rule spoils lists and
    # examples, so look at what became of those.
    mapfile -t wide < <(LC_ALL=C.UTF-8 grep -lE '.{101}' "${files[@]}")
    if ((${#wide[@]} > 0)); then
        style=$(mktemp)
        sed 's/^ReflowComments:.*/ReflowComments: true/' .clang-format >"$style"
        clang-format --style=file:"$style" -i "${wide[@]}"
        rm -f "$style"
        printf 'format: broke long lines of comments in %s; read them again.\n' "${wide[@]}"
    fi
    exit 0
fi
found=$(clang-format --dry-run "${files[@]}" 2>&1 |
    sed -n 's/^\([^ :]*:[0-9]*\):[0-9]*: warning: .*/\1: not as clang-format writes it; run `make format`./p')
if [[ -n $found ]]; then
    echo "$found" | awk -F: '!seen[$1]++'
    exit 1
fi
