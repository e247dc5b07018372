#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# cppcheck on the library, the program, the examples and the benchmark (but its files of C++). A
# finding that is wrong is silenced where it is, with a comment that says why: // cppcheck-suppress NAME ; reason
set -u
cd "$(dirname "$0")/.."
out=$(cppcheck --quiet -j 2 --std=c11 --language=c --enable=warning,performance,portability \
    --inline-suppr '-D_Noreturn=__attribute__((noreturn))' --error-exitcode=1 -D_GNU_SOURCE -D__linux__ -D__x86_64__ -Iinclude -Isrc \
    --suppress=missingIncludeSystem --suppress=normalCheckLevelMaxBranches \
    --template='{file}:{line}: {message} ({id}); mend it, or silence it there and say why.' \
    -ibench/servers/asio.cpp $(printf -- '-i%s ' bench/micro/*.cpp) src tools examples bench 2>&1)
status=$?
if ((status != 0)); then
    echo "$out"
fi
exit $((status != 0))
