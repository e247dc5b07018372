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
mapfile -t files < <(find include src tools examples test -name '*.[ch]' | LC_ALL=C sort)
if [[ ${1:-} == --fix ]]; then
    exec clang-format -i "${files[@]}"
fi
found=$(clang-format --dry-run "${files[@]}" 2>&1 |
    sed -n 's/^\([^ :]*:[0-9]*\):[0-9]*: warning: .*/\1: not as clang-format writes it; run `make format`./p')
if [[ -n $found ]]; then
    echo "$found" | awk -F: '!seen[$1]++'
    exit 1
fi
