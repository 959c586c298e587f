# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# What scripts/quickstart and scripts/test share: what dpt needs, how to install it, and how to start MPI anywhere.
# Sourced with $top set to the root of the checkout.
: "${top:?is to be set by the script that sources this}"

# One need a line: what it is for, how to see that it is there, and the package that brings it with each manager.
#   for     build, data, test; a trailing "?" marks what dpt does without
#   check   cmd:PROGRAM, lib:PKG-CONFIG-NAME, header:FILE or file:PATH
#   "-"     this manager has no such package
# OpenBLAS: the OpenMP flavour where there is a choice, since oneDNN brings OpenMP too and two pools of threads would
# stand in each other's way.
needs='
for    check                    apt                    dnf              zypper              pacman   apk            brew
build  cmd:cc                   build-essential        gcc              gcc                 gcc      build-base     -
build  cmd:make                 build-essential        make             make                make     build-base     -
build  cmd:pkg-config           pkg-config             pkgconf-pkg-config pkgconf           pkgconf  pkgconf        pkgconf
build  cmd:autoreconf           autoconf               autoconf         autoconf            autoconf autoconf       autoconf
build  cmd:automake             automake               automake         automake            automake automake       automake
build  cmd:mpicc                libopenmpi-dev         openmpi-devel    openmpi4-devel      openmpi  openmpi-dev    open-mpi
build  cmd:mpirun               openmpi-bin            openmpi          openmpi4            openmpi  openmpi        open-mpi
build  lib:openblas             libopenblas-openmp-dev openblas-devel   openblas_openmp-devel openblas openblas-dev openblas
build  lib:inih                 libinih-dev            inih-devel       inih-devel          libinih  inih-dev       inih
build  lib:jansson              libjansson-dev         jansson-devel    libjansson-devel    jansson  jansson-dev    jansson
build  lib:zlib                 zlib1g-dev             zlib-devel       zlib-devel          zlib     zlib-dev       zlib
build  lib:libzstd             libzstd-dev            libzstd-devel    libzstd-devel       zstd     zstd-dev       zstd
build  lib:libpcre2-8          libpcre2-dev           pcre2-devel      pcre2-devel         pcre2    pcre2-dev      pcre2
build  lib:libxxhash            libxxhash-dev          xxhash-devel     xxhash-devel        xxhash   xxhash-dev     xxhash
build  lib:hwloc                libhwloc-dev           hwloc-devel      hwloc-devel         hwloc    hwloc-dev      hwloc
build? header:oneapi/dnnl/dnnl.h libdnnl-dev           onednn-devel     onednn-devel        onednn   onednn-dev     onednn
data   file:/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz dataset-fashion-mnist - - - - -
test   lib:cmocka               libcmocka-dev          libcmocka-devel  libcmocka-devel     cmocka   cmocka-dev     cmocka
test   cmd:xz                   xz-utils               xz               xz                  xz       xz             xz
test   cmd:mandoc               mandoc                 mandoc           mandoc              mandoc   mandoc         mandoc
test?  cmd:shellcheck           shellcheck             ShellCheck       ShellCheck          shellcheck shellcheck   shellcheck
test?  cmd:clang                clang                  clang            clang               clang    clang          -
test?  cmd:mpicc.mpich          libmpich-dev           -                -                   -        -              -
test?  cmd:mpiexec.mpich        mpich                  -                -                   -        -              -
'

say() { printf '%s\n' "$*"; }
fail() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# True when the thing that a check names is there.
there() {
    case $1 in
    cmd:*) command -v "${1#cmd:}" >/dev/null 2>&1 ;;
    lib:*) pkg-config --exists "${1#lib:}" 2>/dev/null ;;
    header:*) printf '#include <%s>\n' "${1#header:}" | cc -E - >/dev/null 2>&1 ;;
    file:*) test -e "${1#file:}" ;;
    *) fail "bad check $1" ;;
    esac
}

# The package manager of this machine, or nothing.
manager() {
    for name in apt dnf zypper pacman apk brew; do
        program=$name
        [ "$name" = apt ] && program=apt-get
        if command -v $program >/dev/null 2>&1; then
            printf '%s\n' $name
            return
        fi
    done
}

# missing GROUPS MANAGER: a line "check package optional" for each need of these groups that is not there.
missing() {
    column=$(printf '%s\n' "$needs" | awk -v name="$2" '$1 == "for" { for (i = 3; i <= NF; i++) if ($i == name) print i }')
    printf '%s\n' "$needs" | awk -v groups=" $1 " -v column="${column:-0}" '
        NF > 2 && $1 != "for" {
            group = $1
            optional = sub(/\?$/, "", group) ? "optional" : "required"
            if (index(groups, " " group " "))
                print $2, (column ? $column : "-"), optional
        }' | while read -r check package optional; do
        there "$check" || printf '%s %s %s\n' "$check" "$package" "$optional"
    done
}

# The packages of lines "check package optional", each once.
packages_of() { printf '%s\n' "$1" | awk '$2 != "-" && !seen[$2]++ { printf " %s", $2 }'; }

# The checks of those lines that dpt cannot do without.
required_of() { printf '%s\n' "$1" | awk '$3 == "required" { printf " %s", $1 }'; }

# install_needs GROUPS: installs what is missing on Debian and its relatives; elsewhere says what to install, and stops
# when something is missing that dpt cannot do without. Does nothing at all when everything is there.
install_needs() {
    manager=$(manager)
    lacking=$(missing "$1" "$manager")
    [ -n "$lacking" ] || return 0
    if [ "$manager" = apt ]; then
        install_apt "$lacking"
        lacking=$(required_of "$(missing "$1" apt)")
        [ -z "$lacking" ] || fail "still missing after the installation:$lacking"
        return 0
    fi
    say "This machine lacks:"
    printf '%s\n' "$lacking" | awk '{ printf "  %-30s %s\n", $1, ($3 == "optional" ? "(dpt does without)" : "") }'
    packages=$(packages_of "$lacking")
    case $manager in
    dnf) say "Install with:  sudo dnf install$packages   (then: module load mpi)" ;;
    zypper) say "Install with:  sudo zypper install$packages" ;;
    pacman) say "Install with:  sudo pacman -S$packages" ;;
    apk) say "Install with:  sudo apk add$packages" ;;
    brew) say "Install with:  brew install$packages" ;;
    *) say "No package manager known to this script was found: install them as your system does." ;;
    esac
    case $lacking in
    *file:/usr/share/datasets*)
        say "Fashion-MNIST: put the four .gz files of github.com/zalandoresearch/fashion-mnist (folder data/fashion)"
        say "into /usr/share/datasets/fashion-mnist/."
        ;;
    esac
    [ -z "$(required_of "$lacking")" ] || fail "install what is missing and run this again"
}

# The lines whose package this release of Debian has, or may have: an optional one that is not known is left out.
installable() {
    printf '%s\n' "$1" | while read -r check package optional; do
        if [ "$optional" = required ] || [ -n "$(apt-cache madison "$package" 2>/dev/null)" ]; then
            printf '%s %s %s\n' "$check" "$package" "$optional"
        fi
    done
}

# install_apt LACKING: installs the packages of these lines.
install_apt() {
    if [ -z "$(required_of "$1")" ] && [ -z "$(installable "$1")" ]; then
        return 0
    fi
    as_root=
    if [ "$(id -u)" -ne 0 ]; then
        as_root=sudo
        if ! command -v sudo >/dev/null 2>&1; then
            say "Missing, and neither root nor sudo is here. As root run:  apt-get install$(packages_of "$1")"
            [ -z "$(required_of "$1")" ] || fail "install what is missing and run this again"
            return 0
        fi
    fi
    say "Installing what is missing:$(packages_of "$1")"
    $as_root apt-get update -q || say "apt-get update failed; trying with the package lists that are here"
    wanted=$(packages_of "$(installable "$1")")
    [ -n "$wanted" ] || return 0
    # shellcheck disable=SC2086 # a list of packages
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $wanted ||
        fail "apt-get could not install:$wanted"
}

# Cores that this process may use. nproc would take OMP_NUM_THREADS for an answer.
cores() { (unset OMP_NUM_THREADS OMP_THREAD_LIMIT; nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1); }

# Open MPI refuses to run as root and to start more ranks than cores unless told; in a container it may not read the
# memory of its neighbour directly. Other MPI libraries ignore these variables.
mpi_environment() {
    if [ "$(id -u)" -eq 0 ]; then
        export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
        export PRTE_ALLOW_RUN_AS_ROOT=1 PRTE_ALLOW_RUN_AS_ROOT_CONFIRM=1
        export OMPI_MCA_btl_vader_single_copy_mechanism=none
    fi
    if [ "$(cores)" -lt "${1:-2}" ]; then
        export OMPI_MCA_rmaps_base_oversubscribe=1 PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe
        export OMPI_MCA_mpi_yield_when_idle=1
    fi
}

# configure_in FOLDER OPTION...: configures there, out of the source tree, once.
configure_in() {
    folder=$1
    shift
    if [ -e "$top/config.status" ]; then
        fail "the source tree itself is configured; run 'make distclean' there first"
    fi
    if [ ! -x "$top/configure" ]; then
        (cd "$top" && autoreconf -fi) || return 1
    fi
    mkdir -p "$folder" || return 1
    if [ ! -e "$folder/Makefile" ]; then
        (cd "$folder" && "$top/configure" "$@") || return 1
    fi
}
