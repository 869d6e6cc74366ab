// Experts of any format and shape, f32 activations too: products in f32, token-expert pairs grouped by
// expert where there are many of them.
//
// Every product writes the row of its pair, and a token adds its pairs in ascending order of expert,
// so the grouping changes no bit.  Byte and cycle counts: docs/kernels/cuda_product.md.
#include <algorithm>

#include "backend/cuda/experts/paths.h"
#include "backend/cuda/limits.h"
#include "backend/cuda/numbers.cuh"
#include "backend/cuda/product.h"
#include "base/check.h"

namespace precis::cuda {
namespace {

constexpr int kThreads = 256;

// ---- Grouping of pairs: offsets by a histogram, places by a stable scan.

__global__ void count_pairs(const std::int32_t* expert, int n_pairs, int n_experts, int* offsets,
                            int* tile_expert, int* tile_begin, int* tile_count, int* n_tiles) {
  __shared__ int counts[kMaxExperts];
  for (int e = static_cast<int>(threadIdx.x); e < n_experts; e += kThreads) counts[e] = 0;
  __syncthreads();
  for (int p = static_cast<int>(threadIdx.x); p < n_pairs; p += kThreads) {
    atomicAdd(&counts[expert[p]], 1);
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  int offset = 0;
  int tile = 0;
  for (int e = 0; e < n_experts; ++e) {
    offsets[e] = offset;
    for (int begin = 0; begin < counts[e]; begin += kTileRows) {
      tile_expert[tile] = e;
      tile_begin[tile] = offset + begin;
      tile_count[tile] = min(kTileRows, counts[e] - begin);
      ++tile;
    }
    offset += counts[e];
  }
  *n_tiles = tile;
}

// A warp per expert writes its pairs in ascending order.
__global__ void place_pairs(const std::int32_t* expert, int n_pairs, const int* offsets,
                            int* order) {
  const int lane = static_cast<int>(threadIdx.x);
  int at = offsets[blockIdx.x];
  for (int base = 0; base < n_pairs; base += kWarp) {
    const int p = base + lane;
    const bool mine = p < n_pairs && expert[p] == static_cast<int>(blockIdx.x);
    const unsigned all = __ballot_sync(0xffffffff, mine);
    if (mine) order[at + __popc(all & ((1u << lane) - 1))] = p;
    at += __popc(all);
  }
}

__global__ void copy_rows_densely(Mat<const std::int32_t> from, std::int32_t* to) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < from.rows * from.cols) to[i] = from.data[i / from.cols * from.stride + i % from.cols];
}

// ---- Between the products.

// gate = rounded(weight · silu(min(gate, limit)) · clamp(up, ±limit)); NaN passes through.
__global__ void swiglu(float* gate, const float* up, std::int64_t n, int width,
                       Mat<const float> weight, float limit, Rounding rounding) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= n) return;
  const std::int64_t pair = i / width;
  const float w = weight.data == nullptr
                      ? 1.0f
                      : weight.data[pair / weight.cols * weight.stride + pair % weight.cols];
  const float g = gate[i] > limit ? limit : gate[i];
  const float u = up[i] > limit ? limit : up[i] < -limit ? -limit : up[i];
  gate[i] = round_as(w * (g / (1.0f + expf(-g))) * u, rounding);
}

__global__ void add_outputs(const float* pairs, const float* shared, int n_active, Mat<float> out,
                            Rounding rounding) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= out.rows * out.cols) return;
  const std::int64_t t = i / out.cols;
  const std::int64_t d = i % out.cols;
  float sum = 0;
  for (int a = 0; a < n_active; ++a) sum += pairs[(t * n_active + a) * out.cols + d];
  out.data[t * out.stride + d] = round_as(sum + shared[i], rounding);
}

unsigned blocks_for(std::int64_t n) {
  return static_cast<unsigned>((n + kThreads - 1) / kThreads);
}

// One set of experts over rows of x: x / divisor in, [n_rows, D] out.
struct Rows {
  const WeightView* w1_table = nullptr;
  const WeightView* w3_table = nullptr;
  const WeightView* w2_table = nullptr;
  const std::int32_t* expert = nullptr;
  RowTiles tiles{};
  int n_rows = 0;
  int divisor = 1;
};

float* run_experts(Device& device, const ExpertsArgs& args, const ExpertWeights& shape,
                   const Rows& rows, Mat<const float> x, InputQuant input,
                   Mat<const float> weight) {
  const std::int64_t hidden = shape.w1->n_out();
  auto* gate = device.workspace.take<float>(rows.n_rows * hidden);
  auto* up = device.workspace.take<float>(rows.n_rows * hidden);
  auto* out = device.workspace.take<float>(rows.n_rows * x.cols);
  Product product;
  product.weight_idx = rows.expert;
  product.tiles = rows.tiles;
  product.n_rows = rows.n_rows;
  product.rounding = args.rounding;
  product.x = x.data;
  product.x_stride = x.stride;
  if (input == InputQuant::kFp8Group128) {
    auto* quantised = device.workspace.take<float>(x.rows * x.cols);
    quantise_input(device, x.data, x.stride, x.rows, static_cast<int>(x.cols), quantised);
    product.x = quantised;
    product.x_stride = x.cols;
  }
  product.x_divisor = rows.divisor;
  product.out_stride = hidden;
  product.weight = view_of(shape.w1);
  product.table = rows.w1_table;
  product.out = gate;
  multiply(device, product);
  product.weight = view_of(shape.w3);
  product.table = rows.w3_table;
  product.out = up;
  multiply(device, product);

  const std::int64_t n = rows.n_rows * hidden;
  swiglu<<<blocks_for(n), kThreads, 0, device.stream>>>(gate, up, n, static_cast<int>(hidden),
                                                        weight, args.swiglu_limit, args.rounding);
  PRECIS_CUDA_LAUNCHED();
  if (input == InputQuant::kFp8Group128) {
    quantise_input(device, gate, hidden, rows.n_rows, static_cast<int>(hidden), gate);
  }
  product.weight = view_of(shape.w2);
  product.table = rows.w2_table;
  product.x = gate;
  product.x_stride = hidden;
  product.x_divisor = 1;
  product.out = out;
  product.out_stride = x.cols;
  multiply(device, product);
  return out;
}

RowTiles group_pairs(Device& device, const std::int32_t* expert, int n_pairs, int n_experts) {
  PRECIS_CHECK_LE(n_experts, kMaxExperts);
  const int max_tiles = n_pairs / kTileRows + std::min(n_experts, n_pairs);
  auto* offsets = device.workspace.take<int>(n_experts);
  auto* order = device.workspace.take<int>(n_pairs);
  auto* tiles = device.workspace.take<int>(3 * max_tiles + 1);
  count_pairs<<<1, kThreads, 0, device.stream>>>(expert, n_pairs, n_experts, offsets, tiles,
                                                 tiles + max_tiles, tiles + 2 * max_tiles,
                                                 tiles + 3 * max_tiles);
  PRECIS_CUDA_LAUNCHED();
  place_pairs<<<static_cast<unsigned>(n_experts), kWarp, 0, device.stream>>>(expert, n_pairs,
                                                                             offsets, order);
  PRECIS_CUDA_LAUNCHED();
  return {order, tiles, tiles + max_tiles, tiles + 2 * max_tiles, tiles + 3 * max_tiles, max_tiles};
}

void run_tokens(Device& device, const ExpertTables::Table& table, const ExpertsArgs& args) {
  const auto n_active = static_cast<int>(args.expert_idx.cols);
  const auto n_tokens = static_cast<int>(args.x.rows);
  const auto n_experts = static_cast<int>(args.experts.size());
  Rows routed;
  routed.w1_table = table.w1;
  routed.w3_table = table.w3;
  routed.w2_table = table.w2;
  routed.n_rows = n_tokens * n_active;
  routed.divisor = n_active;
  auto* expert = device.workspace.take<std::int32_t>(routed.n_rows);
  copy_rows_densely<<<blocks_for(routed.n_rows), kThreads, 0, device.stream>>>(args.expert_idx,
                                                                               expert);
  PRECIS_CUDA_LAUNCHED();
  routed.expert = expert;
  // Below two pairs an expert, reading its weights once a pair costs less than a tile of 64 rows.
  if (n_tokens > 8 && routed.n_rows > 2 * n_experts) {
    routed.tiles = group_pairs(device, expert, routed.n_rows, n_experts);
  }
  const float* pairs = run_experts(device, args, args.experts.front(), routed, args.x,
                                   args.expert_input, args.weight);
  Rows shared;
  shared.n_rows = n_tokens;
  const float* shared_out =
      run_experts(device, args, args.shared, shared, args.x, args.shared_input, {});
  add_outputs<<<blocks_for(args.x.rows * args.x.cols), kThreads, 0, device.stream>>>(
      pairs, shared_out, n_active, args.out, args.rounding);
  PRECIS_CUDA_LAUNCHED();
}

}  // namespace

void run_general(Device& device, const ExpertTables::Table& table, const ExpertsArgs& args) {
  constexpr std::int64_t kMaxTokens = 1024;  // bounds the workspace
  for (std::int64_t begin = 0; begin < args.x.rows; begin += kMaxTokens) {
    device.workspace.begin();
    run_tokens(device, table, slice_tokens(args, begin, kMaxTokens));
  }
}

}  // namespace precis::cuda
