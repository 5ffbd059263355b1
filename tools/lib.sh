# Shared functions of the project's scripts. Sourced, not run.

TANDEM_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

say() { printf '== %s\n' "$*"; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# need_command NAME...: every name is a program on PATH, or a clear end.
need_command() {
  local name
  for name in "$@"; do
    command -v "$name" >/dev/null 2>&1 || die "the program \`$name\` is missing (not on PATH)"
  done
}

# missing_packages NAME...: prints those Debian packages that are not installed.
missing_packages() {
  local name
  for name in "$@"; do
    dpkg-query -W -f='${Status}\n' "$name" 2>/dev/null | grep -q '^install ok installed$' ||
      printf '%s\n' "$name"
  done
}

# install_packages NAME...: installs the missing ones with apt-get; does nothing when all are there.
install_packages() {
  if ! command -v apt-get >/dev/null 2>&1 || ! command -v dpkg-query >/dev/null 2>&1; then
    say "no apt-get here: taking it that these are installed by hand: $*"
    return
  fi
  local missing=()
  mapfile -t missing < <(missing_packages "$@")
  if [ "${#missing[@]}" -eq 0 ]; then
    say "packages: all there"
    return
  fi
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 ||
      die "these packages are missing, and there is no sudo to install them with: ${missing[*]}"
    as_root=(sudo)
  fi
  say "packages: installing ${missing[*]}"
  local log
  log="$(mktemp)"
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0)
  if ! { "${as_root[@]}" "${apt[@]}" update &&
    "${as_root[@]}" "${apt[@]}" install --no-install-recommends "${missing[@]}"; } \
    >"$log" 2>&1; then
    tail -n 15 "$log" >&2
    rm -f "$log"
    die "apt-get could not install: ${missing[*]}"
  fi
  rm -f "$log"
}

# cores: how many jobs to run at once. A compiler of this code may take 1.5 GB.
cores() {
  local n gigabytes
  n="$(nproc)"
  gigabytes="$(awk '/^MemTotal/ { print int($2 / 1572864) }' /proc/meminfo)"
  if [ "$gigabytes" -ge 1 ] && [ "$gigabytes" -lt "$n" ]; then n="$gigabytes"; fi
  printf '%s\n' "$n"
}

# quietly LOG COMMAND...: output goes to LOG; the end of it is shown when the command fails.
quietly() {
  local log="$1"
  shift
  mkdir -p "$(dirname "$log")"
  if "$@" >"$log" 2>&1; then return 0; fi
  tail -n 40 "$log" >&2
  printf 'error: failed: %s (whole output: %s)\n' "$*" "$log" >&2
  return 1
}
