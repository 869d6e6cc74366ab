// The wide selection's queries: the B operand with scales as shifts, and the weights in the order in which a
// thread of the product needs them.
#pragma once

#include "backend/cuda/select/scales.cuh"
#include "backend/cuda/wgmma.cuh"

namespace precis::cuda::wide {

inline constexpr int kHeads = 64;
inline constexpr int kTokens = 4;
inline constexpr int kColumns = kTokens * kHeads;
inline constexpr int kTileKeys = 64;
inline constexpr int kWarpKeys = 16;   // of a tile
inline constexpr int kLanesOfRow = 4;  // that share a row of an accumulator

// Lane q of a row's four has the columns of token q, its heads ascending.
__device__ inline int column_of(int token, int head) {
  return head / 2 * 8 + 2 * token + head % 2;
}
// Four neighbouring heads are one load, and the loads of the four lanes are neighbours.
__device__ inline int place_of(int token, int head) {
  return (head / 4 * kTokens + token) * 4 + head % 4;
}

struct QueryTile {
  std::uint8_t bytes[kColumns * kAtomRowBytes];  // swizzled; in front: 1024-aligned
  float scaled_weights[kColumns];                // · 2^(scale of the head)
  float weights[kColumns];
  float4 scales[kColumns];  // of the four groups, with the factor 1/4
  int magnitude[kTokens];   // float bits of the largest scaled weight
  int is_plain;
};

// By the whole block; `tile` is visible to wgmma after the barrier that ends it.
template <int kThreads>
__device__ void load_queries(const SelectCall& c, std::int64_t first_token, int n_tokens,
                             QueryTile& tile) {
  const auto n_heads = static_cast<int>(c.weights.cols);
  if (threadIdx.x < kTokens) tile.magnitude[threadIdx.x] = 0;
  if (threadIdx.x == 0) tile.is_plain = 1;
  __syncthreads();
  for (int at = static_cast<int>(threadIdx.x); at < kColumns * kGroups; at += kThreads) {
    const int group = at % kGroups;
    const int head = at / kGroups % kHeads;
    const int token = at / kGroups / kHeads;
    const bool exists = token < n_tokens && head < n_heads;
    const std::int64_t row = (first_token + token) * n_heads + head;
    const std::uint32_t scale_bytes = exists ? load_word(c.queries.scales(row)) : kPlainScales;
    const uint4 codes = exists ? load_words(c.queries.data(row) + 16 * group) : uint4{};
    const float weight = exists ? c.weight(first_token + token, head) : 0.0f;
    const ScaleRange range(scale_bytes);
    const int shift =
        range.is_plain() ? static_cast<int>(byte_of(scale_bytes, group) - range.least) : 0;
    const ByteTable table(shift);
    const int column = column_of(token, head);
    const std::uint32_t words[4] = {codes.x, codes.y, codes.z, codes.w};
    // The k order is that of KeyOperand: word `w` of every group makes a step of 32.
#pragma unroll
    for (int w = 0; w < 4; ++w) {
      const uint2 bytes = table.bytes(words[w]);
      *reinterpret_cast<std::uint32_t*>(tile.bytes + swizzled(column, 32 * w + 4 * group)) =
          bytes.x;
      *reinterpret_cast<std::uint32_t*>(tile.bytes + swizzled(column, 32 * w + 16 + 4 * group)) =
          bytes.y;
    }
    if (group != 0) continue;
    const int place = place_of(token, head);
    const float common = e8m0_to_float(static_cast<std::uint8_t>(range.least));
    const float magnitude = fabsf(weight);
    const float scaled = weight * common;
    tile.weights[place] = weight;
    tile.scaled_weights[place] = scaled;
    float scales[kGroups];
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
      scales[g] = 0.25f * (range.is_plain()
                               ? common
                               : e8m0_to_float(static_cast<std::uint8_t>(byte_of(scale_bytes, g))));
    }
    tile.scales[place] = {scales[0], scales[1], scales[2], scales[3]};
    atomicMax(&tile.magnitude[token], __float_as_int(fabsf(scaled)));
    const bool fits = magnitude == 0 || (magnitude >= 0x1p-60f && magnitude <= 0x1p40f);
    if (!range.is_plain() || !fits) atomicAnd(&tile.is_plain, 0);
  }
  publish_shared();
  __syncthreads();
}

}  // namespace precis::cuda::wide
