#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What the core takes from outside: check-core.py BUILD

The core archive may need the seam (sys_*), the memory and string functions that only compute, and
what the compiler itself calls. Anything else goes around the seam, and the simulated kernel would
not see it.
"""
import re
import sys

from common import findings, finish, run

ALLOWED = re.compile(
    r"sys_\w+"
    r"|mem(cpy|pcpy|move|set|cmp|chr|rchr|mem)|rawmemchr|bcmp"
    r"|str(len|nlen|chr|rchr|chrnul|str|cmp|ncmp|casecmp|ncasecmp|cpy|ncpy|cat|ncat|spn|cspn|pbrk)"
    r"|stp(cpy|ncpy)"
    r"|__(mem(cpy|pcpy|move|set)|str(cpy|ncpy|cat|ncat)|stp(cpy|ncpy))_chk"
    r"|__stack_chk_fail|_GLOBAL_OFFSET_TABLE_|__tls_get_addr"
    r"|__(u?div|u?mod|u?mul|ash[lr]|lshr|popcount|clz|ctz|bswap)[sdt]i\d"
)

archive = sys.argv[1] + "/libpeal_core.a"
listing = run("nm", "-A", archive)
if listing.returncode != 0:
    print(f"{archive}:1: nm cannot read it; build first. {listing.stderr.strip()}")
    sys.exit(1)
defined, needed = set(), {}
for line in listing.stdout.splitlines():
    place, rest = line.split(":", 2)[1:]
    fields = rest.split()
    kind, name = fields[-2], fields[-1]
    if kind in "UwWvV" and len(fields) == 2:
        needed.setdefault(name, place)
    else:
        defined.add(name)
for name, place in sorted(needed.items()):
    if name not in defined and not ALLOWED.fullmatch(name):
        # src_base_buf.c.o is src/base/buf.c.
        source = re.sub(r"^src_([a-z]+)_(.*)\.o$", r"src/\1/\2", place.split("/")[-1])
        findings.append(f"{source}:1: calls {name}, which is not of the seam; add a sys_ function "
                        "to src/sys/sys.h and call that.")
finish()
