#!/usr/bin/env bash
# Installs the Debian packages that building and testing precis needs, and only those that are missing.
#
# usage: tools/setup.sh [--developer]
#   --developer   also the tools of .ci/run: clang, clang-format, clang-tidy, sanitizer runtimes, ccache
#
# Running it again changes nothing and needs no network. Installing needs root or sudo.
set -euo pipefail

packages=(
  g++ cmake ninja-build pkg-config
  nlohmann-json3-dev libcli11-dev libfmt-dev libxxhash-dev libpcre2-dev libhwy-dev libtbb-dev
  libcairo2-dev fonts-dejavu-core
  libcpp-httplib-dev
  libgtest-dev libgmock-dev
)
if [[ "${1:-}" == "--developer" ]]; then
  packages+=(clang clang-format clang-tidy libclang-rt-14-dev ccache python3-venv)
elif [[ $# -gt 0 ]]; then
  sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi

if ! command -v dpkg-query >/dev/null; then
  echo "setup: this system has no dpkg; install the equivalents of: ${packages[*]}" >&2
  exit 0
fi

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [[ "$status" == installed ]] || missing+=("$package")
done
if [[ ${#missing[@]} -eq 0 ]]; then
  exit 0
fi

as_root=()
if [[ $EUID -ne 0 ]]; then
  if ! command -v sudo >/dev/null; then
    echo "setup: missing ${missing[*]}; run this as root, or install sudo" >&2
    exit 1
  fi
  as_root=(sudo)
fi

echo "setup: installing ${missing[*]}"
# A partly reachable mirror list is no reason to stop: the packages may still be found.
"${as_root[@]}" apt-get update -qq || echo "setup: apt-get update failed, trying with the lists at hand" >&2
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
echo "setup: done"
