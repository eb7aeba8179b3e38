# Sourced: cross_compiler ARCH NAME sets `prefix` to what the compilers for ARCH (x64, arm64) have in front of their names, empty for this
# machine's own. As root it installs Debian's (crossbuild-essential-*). NAME is who asks, for messages.
cross_compiler() {
  local arch=$1 name=$2 triple debian log
  case $arch in
    x64) triple=x86_64-linux-gnu debian=amd64 ;;
    arm64) triple=aarch64-linux-gnu debian=arm64 ;;
    *) echo "$name: $arch is none of x64, arm64" >&2 && exit 64 ;;
  esac
  prefix=$triple-
  [ "$arch" != "$(node -p process.arch)" ] || prefix=
  ! command -v "${prefix}g++" >/dev/null || return 0
  if [ -n "$prefix" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && [ "${IRST_EDGE_NO_APT:-}" != 1 ]; then
    echo "$name: installing crossbuild-essential-$debian" >&2
    log=$(mktemp)
    { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends \
      "crossbuild-essential-$debian"; } >"$log" 2>&1 || { tail -n 15 "$log" >&2 && rm -f "$log" && exit 69; }
    rm -f "$log"
  else
    echo "$name: no compiler for $arch. Run: sudo apt-get install $([ -n "$prefix" ] && echo "crossbuild-essential-$debian" || echo g++)" >&2
    exit 69
  fi
}

# node_gyp ARCH TREE LOG: `npm run build` in TREE with the compilers that cross_compiler found. Through npm, which brings node-gyp and its
# settings along.
node_gyp() {
  CC=${prefix}gcc CXX=${prefix}g++ LINK=${prefix}g++ AR=${prefix}ar npm --prefix "$2" run build -- "--arch=$1" >"$3" 2>&1
}
