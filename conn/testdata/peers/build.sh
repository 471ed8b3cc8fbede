#!/usr/bin/env bash
# Installs and builds the programs of this folder, which conn's TestPeerInterop runs:
#
#   build.sh INTO NAME...    names: python node java beast lws rust netty
#
# What was built from the same source by the same tools is left as it is. Debian's
# packages must be there: step peers of .ci/run installs them.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
into=$1
shift
mkdir -p "$into"

python() {
  rm -rf "$into/python" "$into/wsaccel"
  local pip=(/usr/bin/python3 -m pip install -q --root-user-action=ignore --disable-pip-version-check)
  "${pip[@]}" --target "$into/python" -r "$here/python/requirements.txt"
  # websocket-client uses it wherever it can be imported.
  "${pip[@]}" --target "$into/wsaccel" -r "$here/python/wsaccel.txt"
}

node() {
  mkdir -p "$into/node"
  cp "$here"/node/package*.json "$into/node"
  npm ci --prefix "$into/node" --silent --no-audit --no-fund
}

java() { javac -d "$into/java" "$here/java/Peer.java"; }

netty() { javac -cp '/usr/share/java/*' -d "$into/netty" "$here/netty/NettyPeer.java"; }

beast() { g++ -std=c++17 -O1 -o "$into/beast" "$here/cpp/beast.cpp" -lssl -lcrypto -lpthread; }

lws() { gcc -Wall -O1 -o "$into/lws" "$here/c/lws.c" -lwebsockets -lcrypto; }

rust() { cargo build -q --locked --manifest-path "$here/rust/Cargo.toml" --target-dir "$into/rust"; }

# made_of NAME prints sources, and versions of tools and libraries.
made_of() {
  local sources
  case $1 in
  python) sources=("$here"/python/*.txt); /usr/bin/python3 --version ;;
  node) sources=("$here"/node/package*.json); command node --version ;;
  java) sources=("$here"/java/*); javac --version ;;
  netty) sources=("$here"/netty/*); javac --version; dpkg-query -W libnetty-java ;;
  beast) sources=("$here"/cpp/*); g++ --version; dpkg-query -W 'libboost*-dev' libssl-dev ;;
  lws) sources=("$here"/c/*); gcc --version; dpkg-query -W libwebsockets-dev ;;
  rust) sources=("$here"/rust/Cargo.* "$here"/rust/src/*); rustc --version ;;
  esac
  cat "${sources[@]}" "${BASH_SOURCE[0]}"
}

for name; do
  exec 9>"$into/$name.lock" # another run of the same user's may build it
  flock 9
  sum=$(made_of "$name" | sha256sum)
  [ "$(cat "$into/$name.made" 2>/dev/null || true)" != "$sum" ] || continue
  rm -f "$into/$name.made"
  started=$SECONDS
  "$name"
  echo "$sum" >"$into/$name.made"
  echo "built $name in $((SECONDS - started)) s"
done
