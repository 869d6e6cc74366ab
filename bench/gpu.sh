#!/usr/bin/env bash
# Builds for the GPU of this machine, runs the operations' tests on it, checks and times the bundled
# model, and times the operations.  JSON lines go to the file named (default: bench/results/<gpu>/<date>.jsonl).
set -euo pipefail
cd "$(dirname "$0")/.."

gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader -i 0)
folder=$(sed -E 's/.*(H[0-9]+).*/\L\1/' <<<"$gpu")
out=${1:-bench/results/$folder/$(date +%F).jsonl}
bin=${PRECIS_GPU_BIN:-build-gpu}  # a folder with the programs built before
mkdir -p "$(dirname "$out")"

if [[ ! -x $bin/precis ]]; then
  cmake -S . -B "$bin" -G Ninja -DCMAKE_BUILD_TYPE=Release -DPRECIS_CUDA=ON -DPRECIS_BENCH=ON >/dev/null
  cmake --build "$bin" --target precis ops_test cuda_test bench_gpu
fi

clocks() { nvidia-smi --query-gpu=clocks.sm,clocks.mem,temperature.gpu,power.draw --format=csv,noheader,nounits -i 0; }
note() { echo "{\"note\": \"$1\", \"gpu\": \"$gpu\", \"sm_mhz, mem_mhz, degrees, watts\": \"$(clocks)\", \"date\": \"$(date -u +%FT%TZ)\"}"; }

note "before" | tee "$out"
"$bin"/tests/ops_test --gtest_filter='*cuda*' --gtest_brief=1
"$bin"/tests/cuda_test --gtest_brief=1
for golden in tests/data/golden/*/; do
  "$bin"/precis verify -m "$golden" --expected "$golden/expected.safetensors" --per-layer --backend cuda
done
"$bin"/bench_gpu | tee -a "$out"
note "after the operations" | tee -a "$out"
steps=$(mktemp)
"$bin"/precis bench step --backend cuda --frontiers "${FRONTIERS:-2K,32K,128K,1M}" --json "$steps"
tee -a "$out" <"$steps"
note "after the steps" | tee -a "$out"
