#!/usr/bin/env bash
# ONNX Runtime with TensorRT from source, on the Jetson. An hour or more; once cut off, it goes on. docs/jetson.md
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

usage() {
  cat <<'USAGE'
Usage: build-onnxruntime.sh [options]
  --jetpack VERSION  5.1, 6.x or 7.x; default: that of this machine
  --version TAG      of ONNX Runtime; default: 1.16.3 (JetPack 5), 1.23.2 (6), 1.25.1 (7)
  --architecture N   CUDA architectures, as 87 or "72;87"; default: that of this board
  --jobs N           compilers at a time; default: by cores and memory
  --full-cuda        also the CUDA provider's own operators (hours more); default: TensorRT and copies only
  --with-nodejs      also the binding for onnxruntime-node; takes the version of the package in node_modules
  --prefix DIR       where the libraries go, below lib/; default /opt/irst-edge/onnxruntime
  --work DIR         sources and build; default ~/.cache/irst-edge/onnxruntime (20 GB)
  --dry-run          show every command and run none
USAGE
}

DRY_RUN=0 jetpack='' version='' architecture='' jobs='' full_cuda=0 nodejs=0
while [[ $# -gt 0 ]]; do
  case $1 in
    --jetpack) jetpack=${2:?} && shift ;;
    --version) version=${2:?} && shift ;;
    --architecture) architecture=${2:?} && shift ;;
    --jobs) jobs=${2:?} && shift ;;
    --full-cuda) full_cuda=1 ;;
    --with-nodejs) nodejs=1 ;;
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

[[ -n $architecture ]] || architecture=$(cuda_architecture)
case $JETPACK in
  5) default_version=1.16.3 default_architecture='72;87' ;;
  6) default_version=1.23.2 default_architecture=87 ;;
  7) default_version=1.25.1 default_architecture='87;110' ;;
esac
architecture=${architecture:-$default_architecture}
if [[ $nodejs == 1 && -z $version ]]; then
  version=$(sed -nE 's/^ *"version": "([0-9.]+)".*/\1/p' "$here/../../node_modules/onnxruntime-node/package.json" 2>/dev/null | head -n 1)
  [[ -n $version ]] || die 'onnxruntime-node is not installed' 'run npm ci first, or give --version'
fi
version=${version:-$default_version}
version=${version#v}
[[ $version =~ ^1\.[0-9]+\.[0-9]+$ ]] || die "unknown version $version" 'as 1.23.2'

# A compiler of CUDA code takes up to 6 GB, one of C++ 2 GB; without the CUDA operators there is hardly any of the former.
memory_gb() { awk '/^MemTotal:/ {print int($2 / 1048576)}' /proc/meminfo; }
if [[ -z $jobs ]]; then
  each=$([[ $full_cuda == 1 ]] && echo 6 || echo 2)
  jobs=$(($(memory_gb) / each))
  cores=$(nproc)
  ((jobs >= 1)) || jobs=1
  ((jobs <= cores)) || jobs=$cores
fi

source_dir=$WORK/onnxruntime-$version
build_dir=$WORK/build-$version-sm${architecture//;/-}
stage=$WORK/lib-$version-sm${architecture//;/-}
cuda=/usr/local/cuda
libraries=/usr/lib/aarch64-linux-gnu
say "ONNX Runtime $version for CUDA architecture $architecture, $jobs compilers at a time"

tools() {
  need_tools git:git g++:build-essential ninja:ninja-build python3:python3 pip3:python3-pip patchelf:patchelf readelf:binutils
  # Ubuntu's own CMake is older than ONNX Runtime asks for (3.26; 3.28 from 1.21 on).
  run python3 -m pip install --user --upgrade 'cmake>=3.28,<4' numpy packaging setuptools wheel
}
tools_there() {
  PATH="$HOME/.local/bin:$PATH" cmake --version | awk 'NR == 1 {split($3, v, "."); exit !(v[1] == 3 && v[2] >= 28)}' &&
    command -v git g++ ninja patchelf readelf >/dev/null && [[ -x $cuda/bin/nvcc ]]
}

fetch() {
  run mkdir -p "$WORK"
  if [[ ! -d $source_dir/.git ]]; then
    run git clone --branch "v$version" --depth 1 --recurse-submodules --shallow-submodules \
      https://github.com/microsoft/onnxruntime "$source_dir"
  else
    run git -C "$source_dir" submodule update --init --recursive --depth 1
  fi
}
fetched() {
  [[ $(git -C "$source_dir" describe --tags --exact-match 2>/dev/null) == "v$version" ]] &&
    ! git -C "$source_dir" submodule status --recursive | grep -q '^-'
}

compile() {
  local defines=("CMAKE_CUDA_ARCHITECTURES=$architecture" onnxruntime_BUILD_UNIT_TESTS=OFF)
  local flags=(
    --config Release --update --build --build_dir "$build_dir" --parallel "$jobs" --nvcc_threads 1
    --skip_tests --skip_submodule_sync --allow_running_as_root --cmake_generator Ninja
    --build_shared_lib
    --use_cuda --cuda_home "$cuda" --cudnn_home "$libraries"
    --use_tensorrt --tensorrt_home "$libraries"
  )
  # The whole network runs in TensorRT: of the CUDA provider only copies are needed. Since 1.19.
  local minor=${version#1.}
  [[ $full_cuda == 1 || ${minor%%.*} -lt 19 ]] || flags+=(--enable_cuda_minimal_build)
  [[ $nodejs == 0 ]] || flags+=(--build_nodejs)
  # No --arm64: that is for cross-compiling.
  run env PATH="$HOME/.local/bin:$cuda/bin:$PATH" CUDACXX="$cuda/bin/nvcc" \
    nice -n 10 "$source_dir/build.sh" "${flags[@]}" --cmake_extra_defines "${defines[@]}"
}
compiled() { compgen -G "$build_dir/Release/libonnxruntime.so.$version" >/dev/null && [[ -f $build_dir/Release/libonnxruntime_providers_tensorrt.so ]]; }

gather() {
  run rm -rf "$stage.new"
  run mkdir -p "$stage.new"
  local file
  for file in libonnxruntime.so "libonnxruntime.so.1" "libonnxruntime.so.$version" libonnxruntime_providers_{shared,tensorrt,cuda}.so; do
    [[ $DRY_RUN == 1 || -e $build_dir/Release/$file ]] || continue
    run cp -a "$build_dir/Release/$file" "$stage.new/"
  done
  run rm -rf "$stage"
  run mv "$stage.new" "$stage"
}
gathered() { check_libraries "$stage"; }
install_them() { install_libraries "$stage"; }
installed() { check_installed && diff -rq "$stage" "$PREFIX/lib" >/dev/null; }

binding() {
  local from=$source_dir/js/node/bin/napi-v6/linux/arm64
  local to=$here/../../node_modules/onnxruntime-node/bin/napi-v6/linux/arm64
  run cp -a "$to" "$to.npm"
  run cp -aL "$from/onnxruntime_binding.node" "$from/libonnxruntime.so.1" "$to/"
  run cp -a "$build_dir/Release/libonnxruntime_providers_shared.so" "$build_dir/Release/libonnxruntime_providers_tensorrt.so" \
    "$build_dir/Release/libonnxruntime_providers_cuda.so" "$to/"
}
binding_there() { grep -q tensorrt "$here/../../node_modules/onnxruntime-node/bin/napi-v6/linux/arm64/onnxruntime_binding.node"; }

if [[ $DRY_RUN != 1 ]]; then
  [[ -x $cuda/bin/nvcc ]] || die "there is no CUDA compiler ($cuda/bin/nvcc)" 'sudo apt-get install nvidia-jetpack'
  free_gb=$(($(df -Pk "$(dirname "$WORK")" 2>/dev/null | awk 'NR == 2 {print $4}') / 1048576))
  [[ $free_gb -ge 20 || -d $build_dir ]] || die "$free_gb GB are free for $WORK; 20 are needed" 'choose another place with --work'
  (($(memory_gb) >= 7)) || say 'little memory: add swap, or build on a larger board of the same GPU architecture'
fi

step 'tools' tools tools_there
step 'sources' fetch fetched
step 'build' compile compiled
step 'gather' gather gathered
step "install to $PREFIX/lib" install_them installed
[[ $nodejs == 0 ]] || step 'binding for Node.js' binding binding_there
prove
