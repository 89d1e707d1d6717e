#!/usr/bin/env bash
# Sees to it that a system package is there: packages.sh arm | host | python PYTHON
# What works already is left alone; what is missing comes from apt, and where there is no apt a sentence says what to get.
set -euo pipefail

say() { printf '%s\n' "$*" >&2; }

apt_install() { # PACKAGE...
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || { say "missing: $*. Install them as root: apt-get install $*"; exit 4; }
        as_root=(sudo)
    fi
    say "installing $* with apt${as_root:+, as root by sudo}"
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# need WHAT CHECK PACKAGE...: runs CHECK; installs when it fails, and checks again.
need() {
    local what=$1 check=$2
    shift 2
    if "$check" 2>/dev/null; then return; fi
    if ! command -v apt-get >/dev/null; then
        say "missing: $what. There is no apt-get here, so please install it yourself (on Debian and Ubuntu: $*)."
        exit 4
    fi
    apt_install "$@"
    if ! "$check"; then
        say "$what still does not work although $* are installed; see above"
        exit 4
    fi
}

# Compilers are tried on a header of the C library, since a compiler may be there without it.
arm_works() { echo '#include <string.h>' | "${TINYCOMPILER_CC:-arm-none-eabi-gcc}" -mcpu=cortex-m4 -mthumb -fsyntax-only -x c -; }
host_works() {
    echo '#include <string.h>' | gcc -fsyntax-only -x c - &&
        echo '#include <cstring>' | g++ -fsyntax-only -x c++ -
}
clang_works() { echo '#include <string.h>' | clang -fsyntax-only -x c -; }
clang_sanitizes() { echo 'int main(void) { return 0; }' | clang -fsanitize=address,undefined -x c - -o /dev/null; }
cppcheck_works() { cppcheck --version >/dev/null; }
qemu_works() { qemu-system-arm --version >/dev/null; }
venv_works() { "$python" -c 'import ensurepip, venv'; }

case "${1:-}" in
arm)
    if [ -n "${TINYCOMPILER_CC:-}" ] && ! arm_works; then
        say "TINYCOMPILER_CC is $TINYCOMPILER_CC, which does not compile for cortex-m4; correct it or unset it"
        exit 4
    fi
    need "arm-none-eabi-gcc with the headers of newlib" arm_works gcc-arm-none-eabi libnewlib-arm-none-eabi
    ;;
host)
    need "gcc and g++ for this machine" host_works gcc g++ libc6-dev
    need "clang for this machine" clang_works clang libc6-dev
    need "clang's sanitizers" clang_sanitizes libclang-rt-dev # older systems have them in clang's own package
    need "cppcheck" cppcheck_works cppcheck
    need "QEMU for Arm" qemu_works qemu-system-arm
    "$0" arm
    ;;
python)
    python=${2:-}
    if ! "${python:-false}" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        say "Python 3.11 or newer is needed, and ${python:-python3} is older or missing."
        say "Install one, or name another: make PYTHON=/path/to/python"
        exit 4
    fi
    need "the venv module of $python" venv_works "$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
    ;;
*)
    say "usage: packages.sh arm | host | python PYTHON"
    exit 2
    ;;
esac
