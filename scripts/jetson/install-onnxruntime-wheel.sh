#!/usr/bin/env bash
# ONNX Runtime with TensorRT from a prebuilt Python wheel: takes its shared libraries, not its Python. docs/jetson.md
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

usage() {
  cat <<'USAGE'
Usage: install-onnxruntime-wheel.sh [options]
  --jetpack VERSION  5.1, 6.x or 7.x; default: that of this machine
  --wheel URL|FILE   the wheel; default: the one known for the JetPack (none for 7)
  --sha256 HEX       its checksum; needed with a URL of your own
  --prefix DIR       where the libraries go, below lib/; default /opt/irst-edge/onnxruntime
  --work DIR         downloads; default ~/.cache/irst-edge/onnxruntime
  --dry-run          show every command and run none
USAGE
}

DRY_RUN=0 jetpack='' wheel='' sha256=''
while [[ $# -gt 0 ]]; do
  case $1 in
    --jetpack) jetpack=${2:?} && shift ;;
    --wheel) wheel=${2:?} && shift ;;
    --sha256) sha256=${2:?} && shift ;;
    --prefix) PREFIX=${2:?} && shift ;;
    --work) WORK=${2:?} && shift ;;
    --dry-run) DRY_RUN=1 ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && exit 64 ;;
  esac
  shift
done
# shellcheck source=scripts/jetson/common.sh
source "$here/common.sh"

check_architecture
choose_jetpack "$jetpack"
check_tensorrt

if [[ -z $wheel ]]; then
  case $JETPACK in
    5)
      # Jetson Zoo (https://elinux.org/Jetson_Zoo#ONNX_Runtime). Its 1.17 and 1.18 were built against a newer C library than Ubuntu 20.04's.
      wheel=https://nvidia.box.com/shared/static/iizg3ggrtdkqawkmebbfixo7sce6j365.whl
      # The site names no checksum: what is downloaded first is what is taken from then on.
      name=onnxruntime_gpu-1.16.0-cp38-cp38-linux_aarch64.whl
      ;;
    6)
      # Jetson AI Lab's index, CUDA 12.6 and TensorRT 10.3.
      wheel=https://pypi.jetson-ai-lab.io/jp6/cu126/+f/4eb/e6a8902dc7708/onnxruntime_gpu-1.23.0-cp310-cp310-linux_aarch64.whl
      sha256=4ebe6a8902dc7708434b2e1541b3fe629ebf434e16ab5537d1d6a622b42c622b
      ;;
    7)
      die 'no wheel for JetPack 7 is known that brings its shared libraries for Orin and Thor' \
        'give one with --wheel and --sha256 (docs/jetson.md), or build it: build-onnxruntime.sh'
      ;;
  esac
elif [[ $wheel == *://* && -z $sha256 ]]; then
  die 'a wheel from the network needs --sha256' 'its page or index names it; sha256sum FILE prints it'
fi
name=${name:-${wheel##*/}}
name=${name%%[#?]*}
file=$WORK/$name
libraries=$WORK/${name%.whl}.lib

checksum_holds() { # Without a known checksum: that of the first download, kept beside it.
  [[ -f $file ]] || return 1
  local wanted=$sha256
  [[ -n $wanted ]] || wanted=$(cut -d' ' -f1 "$file.sha256" 2>/dev/null) || return 1
  [[ $(sha256sum "$file" | cut -d' ' -f1) == "$wanted" ]]
}

download() {
  run mkdir -p "$WORK"
  if [[ $wheel != *://* ]]; then
    [[ -f $wheel || $DRY_RUN == 1 ]] || die "$wheel: no such file"
    run cp "$wheel" "$file"
  else
    # Goes on where an earlier download broke off.
    run curl --fail --location --retry 5 --continue-at - --output "$file.part" "$wheel"
    run mv "$file.part" "$file"
  fi
  [[ $DRY_RUN == 1 ]] && return
  if [[ -z $sha256 && ! -f $file.sha256 ]]; then
    sha256sum "$file" >"$file.sha256"
    say "no checksum is known for it; it is $(cut -d' ' -f1 "$file.sha256")"
  fi
  checksum_holds || {
    rm -f "$file"
    die "$name has another checksum than it should" 'run it again; if it stays so, the file was changed at its source'
  }
}

extract() {
  run rm -rf "$libraries.new"
  run mkdir -p "$libraries.new"
  run python3 "$here/take-libraries.py" "$file" "$libraries.new"
  [[ $DRY_RUN == 1 ]] || link_names "$libraries.new"
  run rm -rf "$libraries"
  run mv "$libraries.new" "$libraries"
}

# The plain name, which a wheel may lack: it holds libonnxruntime.so.1.23.0 only.
link_names() {
  local full
  full=$(find "$1" -name 'libonnxruntime.so.*' -printf '%f\n' | sort | tail -n 1)
  if [[ ! -e $1/libonnxruntime.so ]]; then
    [[ -n $full ]] || die "$name holds no libonnxruntime.so" 'it was built for Python alone; build-onnxruntime.sh makes one'
    ln -s "$full" "$1/libonnxruntime.so"
  fi
}

extracted() { check_libraries "$libraries"; }
install_them() { install_libraries "$libraries"; }
installed() { check_installed && diff -rq "$libraries" "$PREFIX/lib" >/dev/null; }

need_tools curl:curl python3:python3 readelf:binutils
step 'download' download checksum_holds
step 'take the libraries' extract extracted
step "install to $PREFIX/lib" install_them installed
prove
