// The decode selection's sums: of a tile in any order of the heads, and exactly, as every backend adds.
#pragma once

#include "backend/cuda/select/decode_keys.cuh"

namespace precis::cuda::decode {

inline constexpr int kProductKeys = 8;  // columns of a product

// The key of a tile whose sum a lane has after add_lanes; of two lanes with the same one is the owner.
__device__ inline int own_key(std::uint32_t lane) {
  return static_cast<int>(lane / kGroups + (lane & 1) * (kTileKeys / 2));
}
__device__ inline bool is_owner(std::uint32_t lane) {
  return (lane & 2) == 0;
}

// The sum over a row's four lanes: sums[0] in the even, sums[1] in the odd.
__device__ inline float add_lanes(const float (&sums)[2]) {
  const bool is_odd = threadIdx.x % 2 != 0;
  const float half =
      (is_odd ? sums[1] : sums[0]) + __shfl_xor_sync(0xffffffff, is_odd ? sums[0] : sums[1], 1);
  return half + __shfl_xor_sync(0xffffffff, half, 2);
}

// The lanes that score_rows gives scores.
__device__ inline bool has_scores(int lane) {
  return lane >= kWarp - kGroups;
}

// Scores of up to eight rows, bit for bit: lanes 4·i … 4·i + 3 give row i, or −1; lanes 28 + q get those of
// rows 2·q and 2·q + 1.  Group sums are taken one after the other, with their scales.
__device__ inline void score_rows(const SelectCall& c, const Queries& queries, std::int32_t row,
                                  float (&scores)[2]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int group = lane % kGroups;
  const int first_head = kOwnHeads * (lane / kGroups);
  const uint4 codes = row >= 0 ? load_words(c.keys.data(row) + 16 * group) : uint4{};
  const std::uint32_t scale_bytes = row >= 0 ? load_word(c.keys.scales(row)) : kPlainScales;
  std::uint32_t key_scales[2];
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    key_scales[j] = __shfl_sync(0xffffffff, scale_bytes, kGroups * (2 * group + j));
  }
  const ByteTable table(0);
  const uint2 bytes[kSteps8] = {table.bytes(codes.x), table.bytes(codes.y), table.bytes(codes.z),
                                table.bytes(codes.w)};
  const QueryFragments fragments(queries);
  constexpr std::int32_t zeros[kHeadTiles][4] = {};
  float dots[kOwnHeads][2] = {};
#pragma unroll 1
  for (int g = 0; g < kGroups; ++g) {
    uint2 keys[kSteps8];
#pragma unroll
    for (int s = 0; s < kSteps8; ++s) keys[s] = group == g ? bytes[s] : uint2{};
    std::int32_t sums[kHeadTiles][4];
    fragments.multiply(keys, zeros, sums);
    float scale_of[2];
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      scale_of[j] = e8m0_to_float(static_cast<std::uint8_t>(byte_of(key_scales[j], g)));
    }
#pragma unroll
    for (int i = 0; i < kOwnHeads; ++i) {
      const float query_scale = reinterpret_cast<const float*>(&queries.scales[first_head + i])[g];
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        dots[i][j] = fmaf(static_cast<float>(sums[i / 2][i % 2 * 2 + j]), query_scale * scale_of[j],
                          dots[i][j]);
      }
    }
  }
  scores[0] = scores[1] = 0;
  // A lane's own result is of use when all before it have had their turn.
#pragma unroll 1
  for (int turn = 0; turn < kHeads / kOwnHeads; ++turn) {
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const float before = __shfl_up_sync(0xffffffff, scores[j], kGroups);
      if (turn > 0) scores[j] = before;
    }
#pragma unroll
    for (int i = 0; i < kOwnHeads; ++i) {
      const float weight = queries.weights[first_head + i];
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const float dot = dots[i][j];
        scores[j] = fmaf(weight, dot < 0 ? 0 : dot, scores[j]);  // not fmaxf: a NaN stays visible
      }
    }
  }
}

}  // namespace precis::cuda::decode
