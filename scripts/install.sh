#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Installs a build folder below a prefix: scripts/install.sh BUILD PREFIX. DESTDIR is obeyed.
set -eu
cd "$(dirname "$0")/.."
meson setup --reconfigure "$1" -Dprefix="$2" >/dev/null
ninja -C "$1" >/dev/null
meson install -C "$1" --no-rebuild --quiet
echo "Installed below ${DESTDIR:-}$2."
if [[ -z ${DESTDIR:-} ]] && ((EUID == 0)); then
    ldconfig
fi
