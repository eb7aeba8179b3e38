#!/usr/bin/env bash
# Shared by the installers beside it: which Jetson this is, and steps that are checked, resumable, and only shown with --dry-run.
# Sourced, not run.

# Set by the scripts that source this.
: "${DRY_RUN:=0}" "${WORK:=$HOME/.cache/irst-edge/onnxruntime}" "${PREFIX:=/opt/irst-edge/onnxruntime}"
# For tests: where /etc and /proc are looked for.
: "${ROOT:=}"

say() { printf '%s\n' "$*"; }

die() { # die WHAT [HINT]
  printf '%s: %s\n' "${0##*/}" "$1" >&2
  [[ -z ${2:-} ]] || printf '  hint: %s\n' "$2" >&2
  exit 1
}

# run COMMAND...: runs it, or with --dry-run shows it, quoted as it could be typed.
run() {
  printf '+'
  printf ' %q' "$@"
  printf '\n'
  [[ $DRY_RUN == 1 ]] || "$@"
}

# as_root COMMAND...
as_root() {
  if [[ $EUID == 0 ]]; then run "$@"; else run sudo "$@"; fi
}

# step NAME FUNCTION CHECK: FUNCTION unless CHECK already holds; afterwards CHECK must hold. So a run that was cut off goes on where it
# stopped, and a step that only seemed to work is noticed.
step() {
  local name=$1 function=$2 check=$3
  if [[ $DRY_RUN != 1 ]] && "$check" >/dev/null 2>&1; then
    say "== $name: done already"
    return
  fi
  say "== $name"
  "$function"
  [[ $DRY_RUN == 1 ]] && return
  "$check" || die "$name: did not come out as it should" "see the output above; run it again to go on from here"
  say "== $name: ok"
}

# Which Jetson Linux this is: 36.4.3; empty on other machines.
l4t_version() {
  sed -nE '1s/^# R([0-9]+) \(release\), REVISION: ([0-9.]+).*/\1.\2/p' "$ROOT/etc/nv_tegra_release" 2>/dev/null || true
}

# jetpack_line L4T: 5, 6 or 7, which this script knows; empty for others.
jetpack_line() {
  case $1 in
    35.[2-6] | 35.[2-6].*) echo 5 ;;
    36.[34] | 36.[345].* | 36.5) echo 6 ;;
    38.* | 39.*) echo 7 ;;
  esac
}

# CUDA architectures of this board's GPU, as CMake wants them; empty where the device tree does not tell.
cuda_architecture() {
  local compatible
  [[ -r $ROOT/proc/device-tree/compatible ]] || return 0
  compatible=$(tr '\0' ' ' 2>/dev/null <"$ROOT/proc/device-tree/compatible" || true)
  case " $compatible" in
    *' nvidia,tegra194'*) echo 72 ;;
    *' nvidia,tegra234'*) echo 87 ;;
    *' nvidia,tegra264'*) echo 110 ;;
  esac
}

# choose_jetpack WANTED: sets JETPACK (5, 6 or 7) from --jetpack or from the machine.
choose_jetpack() {
  local l4t line
  l4t=$(l4t_version)
  line=$(jetpack_line "$l4t")
  case ${1:-} in
    '')
      if [[ -z $l4t ]]; then
        die 'this is no Jetson (no /etc/nv_tegra_release)' 'name the JetPack with --jetpack 5.1, 6.2 or 7.2, for instance for --dry-run'
      fi
      [[ -n $line ]] || die "Jetson Linux $l4t is none that this script knows" 'docs/jetson.md lists those; --jetpack overrides'
      JETPACK=$line
      ;;
    5 | 5.1 | 5.1.*) JETPACK=5 ;;
    6 | 6.*) JETPACK=6 ;;
    7 | 7.*) JETPACK=7 ;;
    *) die "unknown JetPack $1" 'give 5.1, 6.x or 7.x' ;;
  esac
  if [[ -n $line && $line != "$JETPACK" && $DRY_RUN != 1 ]]; then
    die "this is Jetson Linux $l4t (JetPack $line), not JetPack $JETPACK" 'leave --jetpack out'
  fi
  say "JetPack $JETPACK${l4t:+ (Jetson Linux $l4t)}"
}

# Tools that the calling script needs; what is missing is installed by apt.
need_tools() { # need_tools PROGRAM:PACKAGE...
  local entry missing=()
  for entry in "$@"; do
    command -v "${entry%%:*}" >/dev/null 2>&1 || missing+=("${entry#*:}")
  done
  [[ ${#missing[@]} == 0 ]] && return
  as_root apt-get update
  as_root apt-get install -y --no-install-recommends "${missing[@]}"
}

check_architecture() {
  [[ $(uname -m) == aarch64 || $DRY_RUN == 1 ]] || die "this is $(uname -m), not a Jetson" 'use --dry-run to see what would be done'
}

check_tensorrt() { # Major versions by JetPack: 8, 10, 10 or 11.
  local names
  names=$(ldconfig -p 2>/dev/null | sed -nE 's/^[[:space:]]*libnvinfer\.so\.([0-9]+) .*/\1/p' | sort -un | tr '\n' ' ')
  if [[ -z $names ]]; then
    [[ $DRY_RUN == 1 ]] && return
    die 'TensorRT is not installed' 'sudo apt-get install tensorrt (or nvidia-jetpack)'
  fi
  say "TensorRT: libnvinfer ${names% }"
}

# install_libraries FROM: the libraries of ONNX Runtime in FROM become PREFIX/lib, all at once; what was there stays as PREFIX.old.
install_libraries() {
  local from=$1
  as_root mkdir -p "$(dirname "$PREFIX")"
  as_root rm -rf "$PREFIX.new"
  as_root mkdir -p "$PREFIX.new/lib"
  as_root cp -a "$from/." "$PREFIX.new/lib/"
  as_root chmod -R a+rX "$PREFIX.new"
  if [[ -e $PREFIX ]]; then
    as_root rm -rf "$PREFIX.old"
    as_root mv "$PREFIX" "$PREFIX.old"
  fi
  as_root mv "$PREFIX.new" "$PREFIX"
}

# check_libraries FOLDER: the library and both providers are there, of this architecture, and every library that they need is found.
check_libraries() {
  local folder=$1 library header needs line missing machine
  machine=$(uname -m)
  compgen -G "$folder/libonnxruntime.so*" >/dev/null || { say "$folder: no libonnxruntime.so"; return 1; }
  for library in "$folder"/libonnxruntime.so* "$folder"/libonnxruntime_providers_{shared,tensorrt}.so; do
    [[ -e $library ]] || { say "$library: missing"; return 1; }
    [[ -L $library ]] && continue
    header=$(readelf -h "$library" 2>/dev/null || true)
    # readelf writes AArch64 and X86-64.
    if [[ ! ${header,,} =~ machine:[^$'\n']*${machine/x86_64/x86-64} ]]; then
      say "$library: not for $machine"
      return 1
    fi
    needs=$(LD_LIBRARY_PATH="$folder" ldd "$library" 2>&1 || true)
    missing=''
    while read -r line; do
      case $line in
        *' => not found') missing+=" ${line%% *}" ;;
        # "version `GLIBC_2.32' not found": built on a newer system.
        *version*'not found'*)
          say "$library was built for a newer system than this: $line"
          return 1
          ;;
      esac
    done <<<"$needs"
    if [[ -n $missing ]]; then
      say "$library needs, and there is none:$missing"
      return 1
    fi
  done
}

check_installed() { check_libraries "$PREFIX/lib"; }

# The proof: irst-edge itself runs its golden frame through it.
prove() {
  local edge
  say "== proof: irst-edge doctor, on the golden frame"
  edge=$(command -v irst-edge || true)
  [[ -n $edge ]] || edge="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/dist/cli.js"
  if [[ $DRY_RUN == 1 || -x $edge ]]; then
    run env ORT_LIB="$PREFIX/lib" "$edge" doctor --build || true
  else
    say "irst-edge is not installed here; run: ORT_LIB=$PREFIX/lib irst-edge doctor --build"
  fi
  # There irst-edge looks by itself.
  [[ $PREFIX == /opt/irst-edge/onnxruntime ]] || say "In irst-edge.yaml: runtime: {libonnxruntime: $PREFIX/lib}"
}
