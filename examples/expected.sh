#!/bin/sh
# For cron: say what a program still waits for, and complain only if something is not as planned.
# Usage: expected.sh PROGRAM FOLDER REPORT

jwcal predict "$1" --against "$2" -o "$3" --overwrite 2>/dev/null
case $? in
0) echo "$1: all is here" ;;
75) ;; # not all has come yet: the report lists what is missing
1) sed -n '/^different/p; /^unexpected/p' "$3" && exit 1 ;;
*) echo "$1: cannot be compared with $2" && exit 1 ;;
esac
