// Inputs of dense products: a block of threads makes one atom row group, 8 tokens by 128 columns, a
// warp per token.  Tokens and columns beyond the input are 0.
#include <algorithm>

#include "backend/cuda/dense/config.h"
#include "backend/cuda/dense/dense.h"
#include "backend/cuda/dense/quantise.cuh"
#include "backend/cuda/launch.h"
#include "backend/cuda/numbers.cuh"
#include "base/check.h"
#include "base/integers.h"

namespace precis::cuda {
namespace {

constexpr int kThreads = kAtomRows * kWarp;

// Blocks along k that a warp has in flight where there is work for every warp.
constexpr int kManyBlocks = 4;
constexpr int kManyTokens = 1024;

// Grid: blocks along k, kBlocks at a time; groups of 8 tokens.
template <int kBlocks>
__global__ void __launch_bounds__(kThreads)
    quantise_tokens(Mat<const float> x, int padded_tokens, int n_blocks, std::uint8_t* tiles,
                    float* scales) {
  begin_kernel();
  const int in_atom = static_cast<int>(threadIdx.x) / kWarp;
  const int token = static_cast<int>(blockIdx.y) * kAtomRows + in_atom;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int first = static_cast<int>(blockIdx.x) * kBlocks;
  const int width = static_cast<int>(x.cols);
  float values[kBlocks][kPerLane];
#pragma unroll
  for (int i = 0; i < kBlocks; ++i) {
    const int column = (first + i) * kSumBlock;
    load_block(x, token, column, width - column, values[i]);
  }
#pragma unroll
  for (int i = 0; i < kBlocks; ++i) {
    const int block = first + i;
    if (block >= n_blocks) break;
    float scale;
    const std::uint32_t codes = quantise_block(values[i], scale);
    std::uint8_t* atom =
        tiles +
        (static_cast<std::int64_t>(block) * (padded_tokens / kAtomRows) + blockIdx.y) * kAtomBytes;
    *reinterpret_cast<std::uint32_t*>(atom + swizzled(in_atom, kPerLane * lane)) = codes;
    if (lane == 0) scales[static_cast<std::int64_t>(block) * padded_tokens + token] = scale;
  }
}

struct SplitCall {
  Mat<const float> x;
  int group_width;
  int blocks_per_group;
  int padded_tokens;
  int n_planes;
  bool is_permuted;  // for FP8 weights, which expand from bytes (multiply_expanded)
  std::uint8_t* tiles;
  std::uint8_t* is_split;
};

// The bf16 nearest to value, which keeps what is left; an infinity leaves nothing.
__device__ std::uint32_t take_bf16(float& value) {
  const std::uint32_t bits = to_bf16_bits(value);
  const float rest = value - bf16_bits_to_float(bits);
  value = isfinite(rest) ? rest : 0;
  return bits;
}

// Grid: blocks along k of all groups, groups of 8 tokens.
__global__ void __launch_bounds__(kThreads) split_tokens(SplitCall c) {
  begin_kernel();
  const int block = static_cast<int>(blockIdx.x);
  const int in_atom = static_cast<int>(threadIdx.x) / kWarp;
  const int token = static_cast<int>(blockIdx.y) * kAtomRows + in_atom;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int in_group = block % c.blocks_per_group * kSumBlock;
  float values[kPerLane];
  load_block(c.x, token, block / c.blocks_per_group * c.group_width + in_group,
             c.group_width - in_group, values);
  // A lane's four values lie in half `lane / 16` of the block, in two pieces of two.
  constexpr int kHalfLanes = kWarp / 2;
  const int in_half = lane % kHalfLanes;
  const int first = c.is_permuted ? 32 * (in_half % 4) + 4 * (in_half / 4) : 8 * in_half;
  const int second = first + (c.is_permuted ? 16 : 4);
  const std::int64_t n_atoms = c.padded_tokens / kAtomRows;
  const std::int64_t plane_bytes = std::int64_t{2} * gridDim.x * n_atoms * kAtomBytes;
  std::uint8_t* atom =
      c.tiles + ((std::int64_t{2} * block + lane / kHalfLanes) * n_atoms + blockIdx.y) * kAtomBytes;
  bool is_split = false;
  for (int plane = 0; plane < c.n_planes; ++plane) {
    std::uint32_t bits[kPerLane];
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      bits[i] = take_bf16(values[i]);
      is_split = is_split || (plane > 0 && bits[i] % 0x8000 != 0);
    }
    std::uint8_t* to = atom + plane * plane_bytes;
    *reinterpret_cast<std::uint32_t*>(to + swizzled(in_atom, first)) = bits[0] | bits[1] << 16;
    *reinterpret_cast<std::uint32_t*>(to + swizzled(in_atom, second)) = bits[2] | bits[3] << 16;
  }
  if (c.is_split == nullptr) return;
  const bool any = __syncthreads_or(is_split);
  if (threadIdx.x == 0) c.is_split[static_cast<std::int64_t>(blockIdx.y) * gridDim.x + block] = any;
}

DenseInput shape_of(std::int64_t n_tokens, int n_blocks) {
  DenseInput input;
  input.n_tokens = static_cast<int>(n_tokens);
  input.n_blocks = n_blocks;
  const int tile = tile_tokens(input.n_tokens);
  input.padded_tokens = round_up(input.n_tokens, tile);
  return input;
}

dim3 grid_of(const DenseInput& input) {
  return dim3(static_cast<unsigned>(input.n_blocks),
              static_cast<unsigned>(ceil_div(input.n_tokens, kAtomRows)));
}

}  // namespace

DenseInput quantise_rows(Device& device, Mat<const float> x) {
  DenseInput input = shape_of(x.rows, static_cast<int>(ceil_div(x.cols, kSumBlock)));
  const std::int64_t n_values = std::int64_t{input.n_blocks} * input.padded_tokens;
  auto* tiles = device.workspace.take<std::uint8_t>(n_values * kAtomRowBytes);
  auto* scales = device.workspace.take<float>(n_values);
  dim3 grid = grid_of(input);
  auto* kernel = quantise_tokens<1>;
  if (input.n_tokens >= kManyTokens) {
    kernel = quantise_tokens<kManyBlocks>;
    grid.x = ceil_div(grid.x, kManyBlocks);
  }
  launch_overlapping(device, kernel, grid, kThreads, 0, 1, x, input.padded_tokens, input.n_blocks,
                     tiles, scales);
  input.tiles = tiles;
  input.scales = scales;
  return input;
}

DenseInput split_rows(Device& device, Mat<const float> x, int n_groups, const WeightView& weight,
                      Rounding values) {
  constexpr int kPlanesOfF32 = 3;  // 24 bits of mantissa in parts of 8
  PRECIS_CHECK_EQ(x.cols, std::int64_t{n_groups} * weight.n_in);
  SplitCall call{};
  call.x = x;
  call.group_width = weight.n_in;
  call.blocks_per_group = ceil_div(weight.n_in, kSumBlock);
  DenseInput input = shape_of(x.rows, n_groups * call.blocks_per_group);
  const dim3 grid = grid_of(input);
  input.n_planes = values == Rounding::kBf16 ? 1 : kPlanesOfF32;
  call.padded_tokens = input.padded_tokens;
  call.n_planes = input.n_planes;
  call.is_permuted = weight.format == WeightFormat::kFp8Block;
  call.tiles = device.workspace.take<std::uint8_t>(
      std::int64_t{2} * input.n_planes * input.n_blocks * input.padded_tokens * kAtomRowBytes);
  if (input.n_planes > 1) {
    input.n_flags = static_cast<int>(grid.x * grid.y);
    call.is_split = device.workspace.take<std::uint8_t>(input.n_flags);
  }
  launch_overlapping(device, split_tokens, grid, kThreads, 0, 1, call);
  input.tiles = call.tiles;
  input.is_split = call.is_split;
  return input;
}

}  // namespace precis::cuda
