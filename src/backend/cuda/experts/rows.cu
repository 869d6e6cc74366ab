#include <algorithm>

#include <cuda_bf16.h>

#include "backend/cuda/experts/rows.h"
#include "backend/cuda/launch.h"
#include "backend/cuda/limits.h"
#include "backend/cuda/numbers.cuh"
#include "base/check.h"

namespace precis::cuda {
namespace {

constexpr int kPlanThreads = 1024;
constexpr int kPlanWarps = kPlanThreads / kWarp;
static_assert(kMaxExperts <= kPlanThreads, "a thread takes an expert");

__host__ __device__ constexpr int padded(int n_rows) {
  return (n_rows + kUnitRows - 1) / kUnitRows * kUnitRows;
}
__host__ __device__ constexpr int tiles_of(int n_rows, int max_tile_rows) {
  return (n_rows + max_tile_rows - 1) / max_tile_rows;
}
// Rows of each tile but the last, so that the tiles of a weight are about equal.
__host__ __device__ constexpr int rows_of_tile(int n_rows, int max_tile_rows) {
  const int n = tiles_of(n_rows, max_tile_rows);
  return n == 0 ? 0 : padded((n_rows + n - 1) / n);
}

// Tiles of one weight, from tile `tile` and row `row` on.
__device__ void write_tiles(const RowPlan& plan, int weight, int n_rows, int row, int tile,
                            int max_tile_rows) {
  const int step = rows_of_tile(n_rows, max_tile_rows);
  for (int begin = 0; begin < n_rows; begin += step) {
    plan.tiles[tile] = {weight, row + begin, min(step, n_rows - begin)};
    plan.finished[tile++] = 0;
  }
}

// The sum over the threads before this one.  Rows and tiles are added in one word.
__device__ std::uint64_t sum_before(std::uint64_t value, std::uint64_t* total) {
  __shared__ std::uint64_t warps[kPlanWarps];
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  std::uint64_t sum = value;
  for (int step = 1; step < kWarp; step *= 2) {
    const std::uint64_t other = __shfl_up_sync(0xffffffff, sum, step);
    if (lane >= step) sum += other;
  }
  if (lane == kWarp - 1) warps[warp] = sum;
  __syncthreads();
  std::uint64_t before = 0;
  *total = 0;
  for (int w = 0; w < kPlanWarps; ++w) {
    if (w < warp) before += warps[w];
    *total += warps[w];
  }
  return before + sum - value;
}

__global__ void __launch_bounds__(kPlanThreads)
    plan_kernel(Mat<const std::int32_t> expert_idx, Mat<const float> weight, int n_experts,
                int max_tile_rows, RowPlan plan) {
  __shared__ int counts[kMaxExperts];
  begin_kernel();
  const int thread = static_cast<int>(threadIdx.x);
  const auto n_tokens = static_cast<int>(expert_idx.rows);
  const int n_pairs = n_tokens * plan.n_active;
  counts[thread] = 0;
  __syncthreads();
  const auto expert_of = [&](int pair) {
    return expert_idx.data[pair / plan.n_active * expert_idx.stride + pair % plan.n_active];
  };
  for (int p = thread; p < n_pairs; p += kPlanThreads) atomicAdd(&counts[expert_of(p)], 1);
  __syncthreads();

  const int n_rows = counts[thread];
  std::uint64_t total = 0;
  const std::uint64_t before =
      sum_before(static_cast<std::uint64_t>(tiles_of(n_rows, max_tile_rows)) << 32 |
                     static_cast<std::uint64_t>(padded(n_rows)),
                 &total);
  const int first_row = padded(n_tokens) + static_cast<int>(before & 0xffffffff);
  const int first_tile = plan.n_shared_tiles + static_cast<int>(before >> 32);
  write_tiles(plan, thread, n_rows, first_row, first_tile, max_tile_rows);
  if (thread == 0) {
    *plan.n_routed_tiles = static_cast<int>(total >> 32);
    write_tiles(plan, n_experts, n_tokens, 0, 0, max_tile_rows);
  }
  __syncthreads();
  counts[thread] = first_row;
  __syncthreads();

  // Which of an expert's rows a pair gets changes no bit of its values.
  for (int p = thread; p < n_pairs; p += kPlanThreads) {
    const int row = atomicAdd(&counts[expert_of(p)], 1);
    plan.place[p] = row;
    plan.row_weight[row] = weight.data[p / plan.n_active * weight.stride + p % plan.n_active];
  }
  for (int t = thread; t < n_tokens; t += kPlanThreads) plan.row_weight[t] = 1;
}

constexpr int kQuantiseWarps = 4;

// A warp per block of 128 of a token; a lane takes four neighbours, which are one word of codes.
__global__ void __launch_bounds__(kQuantiseWarps* kWarp)
    quantise_kernel(Mat<const float> x, RowPlan plan, QuantisedRows rows) {
  await_earlier_kernels();
  allow_next_kernel();
  const auto token = static_cast<int>(blockIdx.x);
  const int block = static_cast<int>(blockIdx.y * kQuantiseWarps + threadIdx.x / kWarp);
  if (block >= rows.n_blocks) return;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const float* from = x.data + token * x.stride + block * kDepth + lane * 4;
  float values[4];
  if (reinterpret_cast<std::uintptr_t>(from) % 16 == 0) {
    const float4 four = *reinterpret_cast<const float4*>(from);
    values[0] = four.x, values[1] = four.y, values[2] = four.z, values[3] = four.w;
  } else {
    for (int i = 0; i < 4; ++i) values[i] = from[i];
  }
  std::uint32_t max_bits = 0;
  for (const float value : values) max_bits = max(max_bits, __float_as_uint(value) & 0x7fffffff);
  const float scale = activation_scale(warp_max(max_bits));
  const std::uint32_t codes = to_e4m3x4(values, 1.0f / scale);
  for (int a = -1; a < plan.n_active; ++a) {
    const int row = a < 0 ? token : plan.place[token * plan.n_active + a];
    const int at = swizzled(row % kUnitRows, permuted(4 * lane));
    *reinterpret_cast<std::uint32_t*>(rows.row(row, block) + at) = codes;
    if (lane == 0) *rows.scale(row, block) = scale;
  }
}

constexpr int kAddThreads = 128;
constexpr int kAddEach = 8;  // outputs of a thread: 16 bytes of each row

__global__ void __launch_bounds__(kAddThreads)
    add_kernel(const uint4* outputs, RowPlan plan, Mat<float> out) {
  await_earlier_kernels();
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kAddThreads + threadIdx.x;
  const std::int64_t per_row = out.cols / kAddEach;
  if (i >= out.rows * per_row) return;
  const std::int64_t token = i / per_row;
  const std::int64_t at = i % per_row;
  float sums[kAddEach] = {};
  for (int a = 0; a <= plan.n_active; ++a) {
    const std::int64_t row = a == plan.n_active ? token : plan.place[token * plan.n_active + a];
    const uint4 words = outputs[row * per_row + at];
    const std::uint32_t pairs[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
    for (int p = 0; p < 4; ++p) {
      sums[2 * p] += __uint_as_float(pairs[p] << 16);
      sums[2 * p + 1] += __uint_as_float(pairs[p] & 0xffff0000);
    }
  }
  float* to = out.data + token * out.stride + at * kAddEach;
#pragma unroll
  for (int k = 0; k < kAddEach; ++k) to[k] = round_as(sums[k], Rounding::kBf16);
}

}  // namespace

RowPlan plan_rows(Device& device, const ExpertsArgs& args, int max_tile_rows) {
  const auto n_tokens = static_cast<int>(args.x.rows);
  const auto n_experts = static_cast<int>(args.experts.size());
  PRECIS_CHECK_LE(n_experts, kMaxExperts);
  RowPlan plan;
  plan.n_active = static_cast<int>(args.expert_idx.cols);
  const int n_pairs = n_tokens * plan.n_active;
  const int n_used = std::min(n_experts, n_pairs);
  plan.n_shared_tiles = tiles_of(n_tokens, max_tile_rows);
  plan.max_rows = padded(n_tokens) + padded(n_pairs) + (kUnitRows - 1) * n_used + kUnitRows;
  const int max_tiles = plan.n_shared_tiles + n_pairs / max_tile_rows + n_used;
  plan.tiles = device.workspace.take<RowTile>(max_tiles);
  plan.finished = device.workspace.take<int>(max_tiles);
  plan.n_routed_tiles = device.workspace.take<int>(1);
  plan.place = device.workspace.take<std::int32_t>(n_pairs);
  plan.row_weight = device.workspace.take<float>(plan.max_rows);
  launch_overlapping(device, plan_kernel, 1, kPlanThreads, 0, 1, args.expert_idx, args.weight,
                     n_experts, max_tile_rows, plan);
  return plan;
}

QuantisedRows quantise_rows(Device& device, const ExpertsArgs& args, const RowPlan& plan) {
  QuantisedRows rows;
  rows.n_blocks = static_cast<int>(args.x.cols / kDepth);
  rows.codes = device.workspace.take<std::uint8_t>(plan.max_rows * args.x.cols);
  rows.scales =
      device.workspace.take<float>(static_cast<std::int64_t>(plan.max_rows) * rows.n_blocks);
  const dim3 grid(static_cast<unsigned>(args.x.rows),
                  static_cast<unsigned>((rows.n_blocks + kQuantiseWarps - 1) / kQuantiseWarps));
  launch_overlapping(device, quantise_kernel, grid, kQuantiseWarps * kWarp, 0, 1, args.x, plan,
                     rows);
  return rows;
}

void add_rows(Device& device, const ExpertsArgs& args, const RowPlan& plan,
              const std::uint16_t* outputs) {
  const std::int64_t n_threads = args.out.rows * (args.out.cols / kAddEach);
  launch_overlapping(device, add_kernel,
                     dim3(static_cast<unsigned>((n_threads + kAddThreads - 1) / kAddThreads)),
                     kAddThreads, 0, 1, reinterpret_cast<const uint4*>(outputs), plan, args.out);
}

}  // namespace precis::cuda
