// The decode selection's sums: of a tile in any order of the heads, and exactly, as every backend adds.
#pragma once

#include "backend/cuda/select/decode_keys.cuh"

namespace precis::cuda::decode {

inline constexpr int kProductKeys = 8;  // columns of a product

// Sums over the four lanes that hold a part of each: the lane gets that of TileScales::key.
__device__ inline float add_lanes(const float (&sums)[kGroups]) {
  const bool is_upper = (threadIdx.x & 2) != 0;
  const bool is_odd = (threadIdx.x & 1) != 0;
  float pair[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    pair[i] = (is_upper ? sums[i + 2] : sums[i]) +
              __shfl_xor_sync(0xffffffff, is_upper ? sums[i] : sums[i + 2], 2);
  }
  return (is_odd ? pair[1] : pair[0]) + __shfl_xor_sync(0xffffffff, is_odd ? pair[0] : pair[1], 1);
}

// 2^(least scale of a key), without the factors 2^-23 of the positive parts and 4 of the doubled codes.
__device__ inline float scale_factor(std::uint32_t least) {
  return __uint_as_float((least + 23 - 2) << 23);
}

// Codes and scales of a row, by four lanes: one group each, all scales.
struct PackedRow {
  uint4 codes{};
  std::uint32_t scales = kPlainScales;

  __device__ PackedRow(const Rows& keys, std::int32_t row) {
    if (row < 0) return;
    std::byte* page = keys.page(row);
    codes = load_words(keys.data_in(page, row) + 16 * (threadIdx.x % kGroups));
    scales = load_word(keys.scales_in(page, row));
  }
  __device__ void unpack(const ByteTable& table, uint2 (&bytes)[kSteps8]) const {
    const std::uint32_t words[kSteps8] = {codes.x, codes.y, codes.z, codes.w};
#pragma unroll
    for (int s = 0; s < kSteps8; ++s) bytes[s] = table.bytes(words[s]);
  }
};

// Where the parts of a warp's rows meet: [kProductKeys][kHeads], with four words more to a row for the banks.
using HeadParts = float[kProductKeys][kHeads + 4];

// The chain over all heads, of which a lane has eight of two rows: lane i < 8 gets row i's.
__device__ inline float add_heads(const float* weights, const float (&parts)[2][kOwnHeads],
                                  HeadParts& all) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    auto* own =
        reinterpret_cast<float4*>(&all[2 * (lane % kGroups) + j][kOwnHeads * (lane / kGroups)]);
    own[0] = {parts[j][0], parts[j][1], parts[j][2], parts[j][3]};
    own[1] = {parts[j][4], parts[j][5], parts[j][6], parts[j][7]};
  }
  __syncwarp();
  const auto* own = reinterpret_cast<const float4*>(all[lane % kProductKeys]);
  float sum = 0;
#pragma unroll 4
  for (int i = 0; i < kHeads / 4; ++i) {
    const float4 part = own[i];
    const float4 weight = reinterpret_cast<const float4*>(weights)[i];
    sum = fmaf(weight.x, part.x, sum);
    sum = fmaf(weight.y, part.y, sum);
    sum = fmaf(weight.z, part.z, sum);
    sum = fmaf(weight.w, part.w, sum);
  }
  __syncwarp();
  return sum;
}

// Scores of up to eight rows, bit for bit: lanes 4·i … 4·i + 3 give row i, or −1, and lane i gets its score.  The
// scales of the queries and of all these rows are shifts: why the chain keeps its bits is in
// docs/kernels/cuda_select.md.
__device__ inline float score_shifted_rows(const SelectCall& c, const Queries& queries,
                                           std::int32_t row, HeadParts& all) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const PackedRow packed(c.keys, row);
  const std::uint32_t least = ScaleRange(packed.scales).greatest - kMaxShift;
  uint2 bytes[kSteps8];
  packed.unpack(ByteTable(static_cast<int>(byte_of(packed.scales, lane % kGroups) - least)), bytes);
  constexpr std::int32_t zeros[kHeadTiles][4] = {};
  std::int32_t sums[kHeadTiles][4];
  QueryFragments(queries).multiply(bytes, zeros, sums);
  float parts[2][kOwnHeads];
#pragma unroll
  for (int i = 0; i < kOwnHeads; ++i) {
#pragma unroll
    for (int j = 0; j < 2; ++j) parts[j][i] = positive_part(sums[i / 2][i % 2 * 2 + j]);
  }
  const float factor = __shfl_sync(0xffffffff, scale_factor(least), lane % kProductKeys * kGroups);
  return add_heads(queries.scaled_weights, parts, all) * factor;
}

// The same for any scales: group sums are taken one after the other, with their scales.
__device__ inline float score_rows(const SelectCall& c, const Queries& queries, std::int32_t row,
                                   HeadParts& all) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int group = lane % kGroups;
  const int first_head = kOwnHeads * (lane / kGroups);
  const PackedRow packed(c.keys, row);
  std::uint32_t key_scales[2];
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    key_scales[j] = __shfl_sync(0xffffffff, packed.scales, kGroups * (2 * group + j));
  }
  uint2 bytes[kSteps8];
  packed.unpack(ByteTable(0), bytes);
  const QueryFragments fragments(queries);
  constexpr std::int32_t zeros[kHeadTiles][4] = {};
  float dots[2][kOwnHeads] = {};
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
        dots[j][i] = fmaf(static_cast<float>(sums[i / 2][i % 2 * 2 + j]), query_scale * scale_of[j],
                          dots[j][i]);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kOwnHeads; ++i) {
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const float dot = dots[j][i];
      dots[j][i] = dot < 0 ? 0 : dot;  // not fmaxf: a NaN stays visible
    }
  }
  return add_heads(queries.weights, dots, all);
}

}  // namespace precis::cuda::decode
