#!/usr/bin/env bash
# Tandem as a guest in other people's builds: find_package from an install tree that was moved,
# add_subdirectory (a static library), pkg-config with plain g++; and what the library shows.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
here="$TANDEM_SOURCE/tests/install"
flags="-O1 -DUSER_FLAG=1"  # what a user chose; it must reach the compiler as it is
launcher=()
if [ -n "${TANDEM_CCACHE:-}" ]; then
  launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER="env;CCACHE_BASEDIR=$TANDEM_SOURCE;$TANDEM_CCACHE")
fi
passed=0
failed=0

check() {
  local what="$1"
  shift
  if "$@" >"$work/log" 2>&1; then
    passed=$((passed + 1))
    printf 'ok: %s\n' "$what"
  else
    failed=$((failed + 1))
    printf 'FAILED: %s\n' "$what"
    tail -n 30 "$work/log"
  fi
}

# The compile line holds the user's flags, the standard and the include folder, and no more.
own_flags_only() {
  local line rest
  line="$(ninja -C "$1" -t commands consumer | grep -- '-c .*consumer/main.cpp' |
    grep -o -- ' -.*' | sed 's/ -o .*//; s/ -MD.*//')"
  rest="$(tr ' ' '\n' <<<"$line" | grep -vE '^(-I|-isystem)|^/' |
    grep -vE '^(-O1|-DUSER_FLAG=1|-O3|-DNDEBUG|-std=(c|gnu)\+\+20)?$' || true)"
  printf 'the compile line: %s\n' "$line"
  [ -z "$rest" ] && [ "$(grep -o -- "$flags" <<<"$line" | wc -l)" -eq 1 ]
}

configure() { cmake -G Ninja -S "$1" -B "$2" -DCMAKE_BUILD_TYPE=Release "${@:3}"; }

consumer_of() {  # NAME PREFIX
  check "$1: find_package" configure "$here/consumer" "$work/$1" \
    -DCMAKE_CXX_FLAGS="$flags" -DCMAKE_PREFIX_PATH="$2"
  check "$1: compiles and links" ninja -C "$work/$1"
  check "$1: trains" "$work/$1/consumer"
  check "$1: the user's flags and no others" own_flags_only "$work/$1"
}

with_pkg_config() {  # NAME PREFIX
  local pc
  pc="$(find "$2" -name tandem.pc -printf '%h\n')"
  export PKG_CONFIG_PATH="$pc"
  # shellcheck disable=SC2046
  g++ -std=c++20 -O1 "$here/consumer/main.cpp" -o "$work/$1" \
    $(pkg-config --cflags --libs tandem) -Wl,-rpath,"$(dirname "$pc")" && "$work/$1"
}

only_tandem_symbols() {
  local shown
  # Weak guards and thunks are demangled with words in front; a template's result type too.
  shown="$(nm -D --defined-only "$1" | awk '{ print $3 }' |
    grep -vE '^_Z(T[ISVTHW]|GV|Th[n0-9_]*|Tv[n0-9_]*)?Z?N?[KRO]*6tandem|^tandem_' || true)"
  printf '%s\n' "$shown"
  [ -z "$shown" ] && [ "$(nm -D --defined-only "$1" | wc -l)" -gt 100 ]
}

no_outsider_included() {
  local found outsiders='oneapi|dnnl|omp\.h|zlib|nlohmann|protozero|gtest|CLI'
  found="$(grep -rnE '#\s*include\s*[<"]('"$outsiders"')' "$1" || true)"
  printf '%s\n' "$found"
  [ -z "$found" ] && [ "$(find "$1" -name '*.h' | wc -l)" -gt 50 ]
}

needed_soname() { readelf -d "$1" | grep -q 'NEEDED.*\[libtandem\.so\.0\]'; }
names_no_folder() { ! grep -rlF -e "$TANDEM_SOURCE" -e "$work/stage" "$1"; }

# The library is a release build, the user's target is as it was.
release_by_itself() {
  cmake -G Ninja -S "$here/subdirectory" -B "$work/untyped" -DTANDEM_SOURCE="$TANDEM_SOURCE" &&
    ninja -C "$work/untyped" -t commands consumer >"$work/commands" &&
    grep -- '-c .*tandem/core/shape.cpp' "$work/commands" | grep -e '-O3 -DNDEBUG' &&
    ! grep -- '-c .*consumer/main.cpp' "$work/commands" | grep -e -DNDEBUG
}
# An older standard is one error, which names the remedy.
one_error_for_older_standards() {
  local said
  said="$(g++ -std=c++17 -fsyntax-only -I "$1" -x c++ - <<<'#include <tandem/tandem.h>' 2>&1 |
    grep 'error:')"
  printf '%s\n' "$said"
  [ "$(wc -l <<<"$said")" -eq 1 ] && grep -q -e '-std=c++20' <<<"$said"
}

# 1. the shared library that the tests' own build made, installed and then moved
check "install" cmake --install "$TANDEM_BUILD" --prefix "$work/stage"
mv "$work/stage" "$work/elsewhere"
moved="$work/elsewhere"
library="$(find "$moved" -name libtandem.so)"
consumer_of shared "$moved"
if [ -x "$TANDEM_BUILD/tools/tandem-run" ]; then
  check "tandem-run is installed and finds its library" "$moved/bin/tandem-run" --help
fi
check "shared: needs libtandem.so.0" needed_soname "$work/shared/consumer"
check "pkg-config: compiles, links and trains" with_pkg_config shared_pc "$moved"
check "the library shows tandem's symbols only" only_tandem_symbols "$library"
check "no outsider is included by an installed header" no_outsider_included "$moved/include"
check "C++17 gives one error" one_error_for_older_standards "$moved/include"
check "the package files name no folder of the build" names_no_folder \
  "$(dirname "$(find "$moved" -name TandemConfig.cmake)")"

# 2. add_subdirectory: a static library by default. Beside the build folder and without own flags,
#    so that ccache knows the objects of the library already.
sub="${TANDEM_BUILD}_subdirectory"
check "add_subdirectory: configures" configure "$here/subdirectory" "$sub" \
  -DTANDEM_SOURCE="$TANDEM_SOURCE" -DTANDEM_INSTALL=ON "${launcher[@]}"
check "add_subdirectory: a release build unless the user says otherwise" release_by_itself
check "add_subdirectory: compiles and links" ninja -C "$sub"
check "add_subdirectory: trains" "$sub/consumer"

# 3. that static library, installed, moved, found
check "static: install" cmake --install "$sub" --prefix "$work/static_stage"
mv "$work/static_stage" "$work/static_elsewhere"
check "static: it is static" test -n "$(find "$work/static_elsewhere" -name libtandem.a)"
consumer_of static "$work/static_elsewhere"
check "static pkg-config: compiles, links and trains" with_pkg_config static_pc \
  "$work/static_elsewhere"

printf '%s passed, %s failed, 0 skipped\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
