#!/usr/bin/env bash
# Builds the fuzz targets of package fuzz as programs of libFuzzer.
#
#   bash fuzz/libfuzzer/build.sh DIR [TARGET...]   into DIR: each program, its seeds
#                                                  (TARGET_seed_corpus.zip) and its dictionary
#                                                  (TARGET.dict), as OSS-Fuzz wants them
#
# It needs Go, clang and zip. OSS-Fuzz sets OUT, LIB_FUZZING_ENGINE and CXX; its build.sh is the
# one line: bash fuzz/libfuzzer/build.sh "$OUT"
set -euo pipefail
[ $# -gt 0 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export GOWORK=off CGO_ENABLED=1 CC=${CC:-clang}
link=(${CXX:-clang} ${LIB_FUZZING_ENGINE:--fsanitize=fuzzer})
module=github.com/seed-7f57ff33/tickwire

# The targets are in test files, which no program can import: a copy is made that can.
copy=fuzz/libfuzzer/_build.$$
trap 'rm -rf "$copy"' EXIT
mkdir "$copy" "$copy/targets"
for file in fuzz/*_test.go; do
  grep -q '^func Fuzz' "$file" || continue
  sed -e 's/^package fuzz_test/package targets/' -e "s|^\t\"testing\"\$|\t\"$module/fuzz/libfuzzer/testing\"|" "$file" \
    >"$copy/targets/$(basename "$file" _test.go).go"
done
cp -r fuzz/testdata "$copy/targets"
[ $# -gt 0 ] || mapfile -t targets < <(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\)(f .*/\1/p' "$copy"/targets/*.go)
[ $# -eq 0 ] || targets=("$@")

for target in "${targets[@]}"; do
  mkdir "$copy/$target"
  cat >"$copy/$target/main.go" <<GO
package main

// #include <stddef.h>
// #include <stdint.h>
import "C"

import (
	"unsafe"

	"$module/$copy/targets"
	"$module/fuzz/libfuzzer/testing"
)

var (
	call  = testing.Start("$target", targets.$target)
	input []byte // of each call in turn
)

//export LLVMFuzzerTestOneInput
func LLVMFuzzerTestOneInput(data *C.uint8_t, size C.size_t) C.int {
	input = append(input[:0], unsafe.Slice((*byte)(data), int(size))...)
	call(input)
	return 0
}

func main() {}
GO
  go build -buildmode=c-archive -tags=libfuzzer -gcflags="$module/...=-d=libfuzzer" -o "$copy/$target.a" "./$copy/$target"
  "${link[@]}" "$copy/$target.a" -o "$out/$target"
  mkdir "$copy/$target/seeds"
  (cd "$copy/targets" && TICKWIRE_SEEDS=$OLDPWD/$copy/$target/seeds "$out/$target" -runs=1 >"$out/$target.log" 2>&1) || { cat "$out/$target.log"; exit 1; }
  rm "$out/$target.log"
  (cd "$copy/$target/seeds" && zip -q -r "$out/${target}_seed_corpus.zip" .)
  cp fuzz/websocket.dict "$out/$target.dict"
  echo "$target: $(find "$copy/$target/seeds" -type f | wc -l) seeds"
done
