#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every program has --help, whose options are those of its page, and --version; says what was meant by an option that it does
# not have; and output that is lost is a failure.
. "${abs_srcdir:=$PWD}/tests/cli/common.sh"

# ".It Fl k , Fl Fl checkpoint Ns = Ns Ar DIR" is "-k, --checkpoint=DIR".
page_options() {
    sed -n -e '/^\.It Fl/!d' -e 's/^\.It //' -e 's/ Ns Op = Ns Ar \(.*\)/[=\1]/' -e 's/ Ns = Ns [AC][rm] /=/' \
        -e 's/Fl Fl /--/' -e 's/Fl /-/' -e 's/ , /, /' -e p "$1" | sort
}

programs=0
for page in "$abs_srcdir"/man/dpt-*.1; do
    name=$(basename "$page" .1)
    program=$abs_builddir/$name
    programs=$((programs + 1))
    status 0 '' "$program" --help
    grep -q "^Usage: $name " "$dir/out" || fail "$name: no usage line"
    [ "$(awk 'length > 90' "$dir/out" | wc -l)" = 0 ] || fail "$name: --help has long lines"
    sed -n 's/^  *\(\(-[a-zA-Z], \)*--[^ ]*\)  .*/\1/p' "$dir/out" | sort >"$dir/help"
    [ "$(wc -l <"$dir/help")" -ge 5 ] || fail "$name: --help was not understood"
    sed '/^\.It Fl q ,/d; /^\.It Fl t ,/d' "$page" >"$dir/wrong"
    page_options "$dir/wrong" | diff "$dir/help" - >"$dir/out" && fail "$name: a page without an option passes"
    page_options "$page" >"$dir/page"
    diff -u "$dir/help" "$dir/page" >"$dir/out" || fail "--help and $name(1) name other options"
    status 0 '' "$program" --version
    grep -q "^$name [(0-9]" "$dir/out" || fail "$name: no version"
    status 2 "$name: there is no option --nonsense" "$program" --nonsense
    status 2 "Did you mean --version?" "$program" --versoin
    status 2 "Try '$name --help'" "$program" -Z
    status 2 '--help takes no value' "$program" --help=x
    if [ -c /dev/full ]; then
        status 5 "$name: standard output: cannot be written: No space left" sh -c '"$0" --help >/dev/full' "$program"
    fi
done
if [ -c /dev/full ]; then # longer than a buffer; and what the log prints
    train=$abs_builddir/dpt-train
    status 5 'standard output: cannot be written: No space left' sh -c '"$0" --list=keys >/dev/full' "$train"
    printf '[data]\nformat = synthetic\n[model]\ntype = mlp\n' >"$dir/job.ini"
    status 1 'standard output: cannot be written: an earlier line' sh -c '"$0" --plan=2 "$1" >/dev/full' "$train" "$dir/job.ini"
fi
[ $programs -ge 6 ] || fail "$programs programs have a page"
