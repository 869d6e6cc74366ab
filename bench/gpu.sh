#!/usr/bin/env bash
# Checks and times everything on the GPU of this machine, in a minute and a half without the build: tests, golden
# data, kernels, decode steps, and greedy decoding beside the CPU's.  JSON lines go to the file named (default:
# bench/results/<gpu>/<date>.jsonl).  PRECIS_GPU_BIN names a folder with the programs built before.
#
# bench/gpu.sh --sanitize   only the tests of operations, under compute-sanitizer: several minutes
set -euo pipefail
cd "$(dirname "$0")/.."

only_sanitize=false
if [[ ${1:-} == --sanitize ]]; then
  only_sanitize=true
  shift
fi

gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader -i 0)
folder=$(sed -E 's/.*(H[0-9]+).*/\L\1/' <<<"$gpu")
out=${1:-bench/results/$folder/$(date +%F).jsonl}
bin=${PRECIS_GPU_BIN:-build-gpu}

if [[ -z ${PRECIS_GPU_BIN:-} ]]; then
  cmake -S . -B "$bin" -G Ninja -DCMAKE_BUILD_TYPE=Release -DPRECIS_CUDA=ON -DPRECIS_BENCH=ON >/dev/null
  cmake --build "$bin" --target precis ops_test cuda_test engine_cuda_test bench_gpu bench_gpu_step parity
fi

# A program by its name, wherever under the folder it lies.
program() { find "$bin" -name "$1" -type f -perm -u+x -print -quit; }
clocks() { nvidia-smi --query-gpu=clocks.sm,clocks.mem,temperature.gpu,power.draw --format=csv,noheader,nounits -i 0; }
# sanitized TOOL PROGRAM FILTER: tests under the sanitizer, 12 shards at once, as most of their time is the host's.
sanitized() {
  local tests pids=() failed=0
  tests=$(program "$2")
  for shard in {0..11}; do
    GTEST_TOTAL_SHARDS=12 GTEST_SHARD_INDEX=$shard compute-sanitizer --tool "$1" --error-exitcode 1 "$tests" \
      --gtest_brief=1 --gtest_filter="$3" &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
  return $failed
}
if $only_sanitize; then
  sanitized memcheck ops_test '*cuda*'
  sanitized memcheck cuda_test '*'
  # Not all of cuda_test: docs/benchmarks.md says what the tool reports there and why.
  sanitized racecheck ops_test '*cuda*'
  sanitized racecheck cuda_test '*SelectOnGpu*'
  exit
fi

mkdir -p "$(dirname "$out")"
note() { echo "{\"note\": \"$1\", \"gpu\": \"$gpu\", \"sm_mhz, mem_mhz, degrees, watts\": \"$(clocks)\", \"date\": \"$(date -u +%FT%TZ)\"}" | tee -a "$out"; }

: >"$out"
note "before"
"$(program ops_test)" --gtest_filter='*cuda*' --gtest_brief=1
"$(program cuda_test)" --gtest_brief=1
"$(program engine_cuda_test)" --gtest_brief=1
for golden in tests/data/golden/*/; do
  "$(program precis)" verify -m "$golden" --expected "$golden/expected.safetensors" --per-layer --backend cuda
done
"$(program bench_gpu)" | tee -a "$out"
note "after the operations"
"$(program bench_gpu_step)" | tee -a "$out"
"$(program bench_gpu_step)" --direct | tee -a "$out"
note "after the steps of the V4-Flash shape"
for launch in "" --direct; do
  steps=$(mktemp)
  # shellcheck disable=SC2086
  "$(program precis)" bench step -m models/mini --backend cuda --frontiers "${FRONTIERS:-2K,32K,128K}" $launch --json "$steps"
  tee -a "$out" <"$steps"
done
for mode in release f32; do
  "$(program parity)" --mode "$mode" | tee -a "$out"
done
note "after all"
