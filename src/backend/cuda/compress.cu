// The compressor: a block per finished row reads its tokens from the state or from the step, then
// the state is brought up to date.  A row's sums run over its slots in order, so it does not matter
// from where a slot is read.
#include "backend/cuda/launch.h"
#include "backend/cuda/numbers.cuh"
#include "backend/cuda/ops.h"
#include "base/check.h"
#include "base/integers.h"

namespace precis::cuda {
namespace {

constexpr int kThreads = 256;
constexpr std::int64_t kFewTokens = 4;
constexpr int kFewTokensThreads = 1024;

struct CompressCall {
  Mat<const float> kv;
  Mat<const float> score;
  const float* ape;
  const float* norm;
  Mat<float> state_kv;
  Mat<float> state_score;
  int ratio;
  bool overlap;
  StepValue first_position;
  Mat<const float> angles;
  CompressedKind kind;
  KvRowFormat kv_format;
  Rows rows;
  int width;
  float eps;
  Rounding rounding;

  __device__ std::int64_t first_block() const { return first_position / ratio; }
};

// Value and score of token `in_block` of block `block`, column `column`.
__device__ float2 token_values(const CompressCall& c, std::int64_t block, int in_block,
                               std::int64_t column) {
  const std::int64_t step_row = block * c.ratio + in_block - c.first_position;
  if (step_row >= 0) {
    return {
        c.kv.data[step_row * c.kv.stride + column],
        c.score.data[step_row * c.score.stride + column] + c.ape[in_block * c.kv.cols + column]};
  }
  // Slots of the state: the block before the current one, where blocks overlap, then the current.
  const std::int64_t slot = (c.overlap && block == c.first_block() ? c.ratio : 0) + in_block;
  return {c.state_kv.data[slot * c.state_kv.stride + column],
          c.state_score.data[slot * c.state_score.stride + column]};
}

// The row of block `block`; its rotary angles are row `idx` of the call's.
__device__ void store_row(const CompressCall& c, std::int64_t block, std::int64_t idx, float* row) {
  const int n_slots = c.overlap ? 2 * c.ratio : c.ratio;
  for (int channel = static_cast<int>(threadIdx.x); channel < c.width;
       channel += static_cast<int>(blockDim.x)) {
    const auto slot_values = [&](int slot) {
      if (!c.overlap) return token_values(c, block, slot, channel);
      return slot < c.ratio ? token_values(c, block - 1, slot, channel)
                            : token_values(c, block, slot - c.ratio, c.width + channel);
    };
    float largest = -INFINITY;
#pragma unroll 8
    for (int slot = 0; slot < n_slots; ++slot) largest = fmaxf(largest, slot_values(slot).y);
    float sum = 0;
    float weighted = 0;
#pragma unroll 8
    for (int slot = 0; slot < n_slots; ++slot) {
      const float2 values = slot_values(slot);
      const float weight = expf(values.y - largest);
      sum += weight;
      weighted = fmaf(weight, values.x, weighted);
    }
    row[channel] = round_as(weighted / sum, c.rounding);
  }
  __syncthreads();
  const float scale = block_inverse_rms(row, c.width, c.eps, row + c.width);
  for (int i = static_cast<int>(threadIdx.x); i < c.width; i += static_cast<int>(blockDim.x)) {
    row[i] = round_as(row[i] * scale * c.norm[i], c.rounding);
  }
  __syncthreads();
  block_rotate(row, c.width, c.angles.data + idx * c.angles.stride, static_cast<int>(c.angles.cols),
               c.rounding);
  if (c.kind == CompressedKind::kKvRow) {
    block_write_kv_row(row, c.rows, block, c.kv_format);
  } else {
    block_hadamard(row, c.width, c.rounding);
    block_write_index_row(row, c.rows, block, c.width);
  }
}

// Column `column` of the tokens at place `in_block` of a block, in both halves of the state: one
// thread's, as it reads what it replaces.
__device__ void update_column(const CompressCall& c, int in_block, std::int64_t column) {
  const std::int64_t end = c.first_position + c.kv.rows;
  const std::int64_t slot = (c.overlap ? c.ratio : 0) + in_block;
  const auto store = [&](std::int64_t to, float2 values) {
    c.state_kv.data[to * c.state_kv.stride + column] = values.x;
    c.state_score.data[to * c.state_score.stride + column] = values.y;
  };
  const std::int64_t last_block = end / c.ratio;  // the one that the next token belongs to
  if (c.overlap && last_block > c.first_block()) {
    store(in_block, token_values(c, last_block - 1, in_block, column));
  }
  // The last token so far at this place of a block; a place that the step did not reach keeps its.
  const std::int64_t block = in_block < end % c.ratio ? last_block : last_block - 1;
  if (block * c.ratio + in_block >= c.first_position) {
    store(slot, token_values(c, block, in_block, column));
  }
}

__global__ void __launch_bounds__(kThreads) store_rows(CompressCall c) {
  extern __shared__ float row[];
  begin_kernel();
  const std::int64_t block = c.first_block() + blockIdx.x;
  if (block < (c.first_position + c.kv.rows) / c.ratio) store_row(c, block, blockIdx.x, row);
}

__global__ void __launch_bounds__(kThreads) update_state(CompressCall c) {
  begin_kernel();
  const std::int64_t item = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int in_block = static_cast<int>(item / c.kv.cols);
  if (in_block < c.ratio) update_column(c, in_block, item % c.kv.cols);
}

// A step of few tokens, which finishes at most one row: one block does both.
__global__ void __launch_bounds__(kFewTokensThreads) store_and_update(CompressCall c) {
  extern __shared__ float row[];
  begin_kernel();
  const std::int64_t first = c.first_position;
  const std::int64_t block = c.first_block();
  if (block < (first + c.kv.rows) / c.ratio) {
    store_row(c, block, 0, row);
    __syncthreads();
  }
  // Where blocks overlap, a finished one moves whole; else only the step's own places change.
  const int n_places = c.overlap ? c.ratio : static_cast<int>(c.kv.rows);
  for (std::int64_t i = threadIdx.x; i < n_places * c.kv.cols; i += kFewTokensThreads) {
    const std::int64_t place = i / c.kv.cols;
    update_column(c, static_cast<int>(c.overlap ? place : (first + place) % c.ratio),
                  i % c.kv.cols);
  }
}

}  // namespace

void compress(Device& device, const CompressArgs& a) {
  if (a.kv.rows == 0) return;
  PRECIS_CHECK(a.kind != CompressedKind::kKvRow ||
               a.kv_format.nope_storage == NopeStorage::kE4m3Scales8);
  PRECIS_CHECK(a.kind == CompressedKind::kKvRow || a.index_format.storage == IndexStorage::kE2m1);
  const CompressCall call{a.kv,
                          a.score,
                          a.ape.data(),
                          a.norm.data(),
                          a.state_kv,
                          a.state_score,
                          a.ratio,
                          a.overlap,
                          StepValue{a.first_position, a.first_position_cell},
                          a.rope.cos_sin,
                          a.kind,
                          a.kv_format,
                          rows_of(a.rows),
                          a.width(),
                          a.eps,
                          a.rounding};
  const int shared_bytes = 4 * (a.width() + kWarp);
  // At most so many rows, wherever the step begins: its position may lie in a cell.
  const std::int64_t max_rows = ceil_div(a.kv.rows, a.ratio);
  if (max_rows == 1 && a.kv.rows <= kFewTokens) {
    launch_overlapping(device, store_and_update, 1, kFewTokensThreads, shared_bytes, 1, call);
    return;
  }
  launch_overlapping(device, store_rows, static_cast<unsigned>(max_rows), kThreads, shared_bytes, 1,
                     call);
  const std::int64_t n_items = a.ratio * a.kv.cols;
  launch_overlapping(device, update_state, static_cast<unsigned>(ceil_div(n_items, kThreads)),
                     kThreads, 0, 1, call);
}

}  // namespace precis::cuda
