#!/bin/sh
# Prints the files of a folder that match patterns, one a line, sorted: list-files.sh ROOT FOLDER PATTERN...
cd "$1/$2" || exit 0
shift 2
for pattern in "$@"; do
    for file in $pattern; do
        if [ -f "$file" ]; then
            echo "$file"
        fi
    done
done | LC_ALL=C sort
