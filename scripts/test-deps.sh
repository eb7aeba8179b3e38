#!/usr/bin/env bash
# Makes sure that the programs the tests start are there: a real MQTT broker and its clients, ffmpeg, openssl, shellcheck, systemd-analyze.
# Installs what is missing with apt where it may (root, or sudo without a password); elsewhere prints the command to run.
# IRST_EDGE_NO_APT=1 forbids the installing.
set -euo pipefail

# Debian keeps daemons where a user's PATH does not look.
export PATH="$PATH:/usr/sbin:/usr/local/sbin:/sbin"

# program:package
needed=(
  mosquitto:mosquitto
  mosquitto_sub:mosquitto-clients
  mosquitto_pub:mosquitto-clients
  mosquitto_passwd:mosquitto
  ffmpeg:ffmpeg
  ffprobe:ffmpeg
  openssl:openssl
  shellcheck:shellcheck
  systemd-analyze:systemd
)

programs=()
packages=()
list_missing() {
  programs=()
  packages=()
  local entry program package
  for entry in "${needed[@]}"; do
    program=${entry%%:*}
    package=${entry#*:}
    command -v "$program" >/dev/null 2>&1 && continue
    programs+=("$program")
    [[ " ${packages[*]-} " == *" $package "* ]] || packages+=("$package")
  done
}

give_up() {
  local prefix=''
  [[ $EUID -eq 0 ]] || prefix='sudo '
  {
    echo "test-deps: missing: ${programs[*]}${1:+ ($1)}"
    if command -v apt-get >/dev/null 2>&1; then
      echo "Run: ${prefix}apt-get update && ${prefix}apt-get install -y --no-install-recommends ${packages[*]}"
    else
      echo "Install with your package manager what Debian calls: ${packages[*]}"
    fi
  } >&2
  exit 1
}

list_missing
[[ ${#programs[@]} -eq 0 ]] && exit 0

command -v apt-get >/dev/null 2>&1 || give_up 'no apt-get here'
[[ ${IRST_EDGE_NO_APT:-} == 1 ]] && give_up 'IRST_EDGE_NO_APT=1'

as_root=()
if [[ $EUID -ne 0 ]]; then
  sudo -n true >/dev/null 2>&1 || give_up 'not root, and sudo asks for a password'
  as_root=(sudo -n)
fi

log=$(mktemp)
guard=/usr/sbin/policy-rc.d
guarded=0
cleanup() {
  rm -f "$log"
  if [[ $guarded -eq 1 ]]; then "${as_root[@]}" rm -f "$guard"; fi
}
trap cleanup EXIT

# The tests start their own broker on a free port: keep Debian from starting one as a service.
# https://people.debian.org/~hmh/invokerc.d-policyrc.d-specification.txt
if [[ ! -e $guard ]]; then
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$guard" >/dev/null
  guarded=1
  "${as_root[@]}" chmod 755 "$guard"
fi

echo "test-deps: installing ${packages[*]}"
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120)
if ! { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "${packages[@]}"; } >"$log" 2>&1; then
  tail -n 15 "$log" >&2
  give_up 'apt-get failed, see above'
fi

list_missing
[[ ${#programs[@]} -eq 0 ]] || give_up 'still missing after apt-get install'
