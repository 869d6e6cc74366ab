// The compressor: a block per finished row reads its tokens from the state or from the step, then
// one kernel brings the state up to date.  A row's sums run over its slots in order, so it does not
// matter from where a slot is read.
#include "backend/cuda/numbers.cuh"
#include "backend/cuda/ops.h"
#include "base/check.h"

namespace precis::cuda {
namespace {

constexpr int kThreads = 128;

struct CompressCall {
  Mat<const float> kv;
  Mat<const float> score;
  const float* ape;
  const float* norm;
  Mat<float> state_kv;
  Mat<float> state_score;
  int ratio;
  bool overlap;
  std::int64_t first_position;
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

__global__ void store_rows(CompressCall c) {
  extern __shared__ float row[];
  const std::int64_t block = c.first_block() + blockIdx.x;
  const int n_slots = c.overlap ? 2 * c.ratio : c.ratio;
  for (int channel = static_cast<int>(threadIdx.x); channel < c.width; channel += kThreads) {
    const auto slot_values = [&](int slot) {
      if (!c.overlap) return token_values(c, block, slot, channel);
      return slot < c.ratio ? token_values(c, block - 1, slot, channel)
                            : token_values(c, block, slot - c.ratio, c.width + channel);
    };
    float largest = -INFINITY;
    for (int slot = 0; slot < n_slots; ++slot) largest = fmaxf(largest, slot_values(slot).y);
    float sum = 0;
    float weighted = 0;
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
  for (int i = static_cast<int>(threadIdx.x); i < c.width; i += kThreads) {
    row[i] = round_as(row[i] * scale * c.norm[i], c.rounding);
  }
  __syncthreads();
  block_rotate(row, c.width, c.angles.data + blockIdx.x * c.angles.stride,
               static_cast<int>(c.angles.cols), c.rounding);
  if (c.kind == CompressedKind::kKvRow) {
    block_write_kv_row(row, c.rows, block, c.kv_format);
  } else {
    block_hadamard(row, c.width, c.rounding);
    block_write_index_row(row, c.rows, block, c.width);
  }
}

// A thread owns one column of one token of a block, in both halves of the state.
__global__ void update_state(CompressCall c, std::int64_t end) {
  const std::int64_t item = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const std::int64_t column = item % c.kv.cols;
  const int in_block = static_cast<int>(item / c.kv.cols);
  if (in_block >= c.ratio) return;
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

}  // namespace

void compress(Device& device, const CompressArgs& a) {
  if (a.kv.rows == 0) return;
  PRECIS_CHECK(a.kind != CompressedKind::kKvRow ||
               a.kv_format.nope_storage == NopeStorage::kE4m3Scales8);
  PRECIS_CHECK(a.kind == CompressedKind::kKvRow || a.index_format.storage == IndexStorage::kE2m1);
  const CompressCall call{
      a.kv,          a.score,     a.ape.data(),    a.norm.data(),    a.state_kv,
      a.state_score, a.ratio,     a.overlap,       a.first_position, a.rope.cos_sin,
      a.kind,        a.kv_format, rows_of(a.rows), a.width(),        a.eps,
      a.rounding};
  if (a.n_finished() > 0) {
    const int shared_bytes = 4 * (a.width() + kWarp);
    store_rows<<<static_cast<unsigned>(a.n_finished()), kThreads, shared_bytes, device.stream>>>(
        call);
    PRECIS_CUDA_LAUNCHED();
  }
  const std::int64_t n_items = a.ratio * a.kv.cols;
  update_state<<<static_cast<unsigned>((n_items + kThreads - 1) / kThreads), kThreads, 0,
                 device.stream>>>(call, a.first_position + a.kv.rows);
  PRECIS_CUDA_LAUNCHED();
}

}  // namespace precis::cuda
