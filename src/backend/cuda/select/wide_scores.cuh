// The wide selection's scores, from products: of the rows lane / 4 and lane / 4 + 8 of a warp, for token
// lane % 4.
#pragma once

#include "backend/cuda/select/wide_keys.cuh"

namespace precis::cuda::wide {

inline constexpr int kBlockHeads = 16;
inline constexpr int kBlockColumns = kBlockHeads * kLanesOfRow;

// Adds kCount of the token's heads, from `first` on, to two chains; value(j, r) is of head first + j, row r.
template <int kCount, typename Value>
__device__ void add_heads(const float* weights, int first, const Value& value, float (&scores)[2]) {
  const int token = static_cast<int>(threadIdx.x) % kLanesOfRow;
#pragma unroll
  for (int i = 0; i < kCount; i += 4) {
    const auto w = *reinterpret_cast<const float4*>(&weights[place_of(token, first + i)]);
    const float each[4] = {w.x, w.y, w.z, w.w};
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int r = 0; r < 2; ++r) scores[r] = fmaf(each[j], value(i + j, r), scores[r]);
    }
  }
}

__device__ constexpr int accumulator_of(int head, int row) {
  return head / 2 * 4 + 2 * row + head % 2;
}

__device__ inline void add_sums(const QueryTile& queries, const std::int32_t (&sums)[kColumns / 2],
                                float (&scores)[2]) {
  add_heads<kHeads>(
      queries.scaled_weights, 0,
      [&](int i, int r) { return positive_part(sums[accumulator_of(i, r)]); }, scores);
}

// Any scales: the sums of one group after the other, 16 heads of each lane at a time.
__device__ inline void add_group_sums(const QueryTile& queries, const PackedKeys& keys,
                                      float (&scores)[2]) {
  const int lane_of_row = static_cast<int>(threadIdx.x) % kLanesOfRow;
  const int token = lane_of_row;
#pragma unroll 1
  for (int first = 0; first < kHeads; first += kBlockHeads) {
    const std::uint64_t b = describe(queries.bytes + first * kLanesOfRow * kAtomRowBytes);
    float dots[kBlockColumns / 2] = {};
#pragma unroll 1
    for (int g = 0; g < kGroups; ++g) {
      PackedKeys part = keys;
#pragma unroll
      for (int r = 0; r < 2; ++r) {
#pragma unroll
        for (int w = 0; w < 4; ++w) part.words[r][w] = lane_of_row == g ? keys.words[r][w] : 0;
      }
      KeyOperand of_group;
      of_group.expand(part, {0, 0});
      std::int32_t sums[kBlockColumns / 2];
      begin_products();
#pragma unroll
      for (int s = 0; s < 4; ++s) {
        multiply_registers<S8, kBlockColumns>(sums, of_group.words[s], along_k(b, s), s > 0);
      }
      commit_products();
      await_products<0>();
      hold(sums);
      of_group.hold_words();
      float key_scales[2];
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        key_scales[r] = e8m0_to_float(static_cast<std::uint8_t>(byte_of(keys.scales[r], g)));
      }
#pragma unroll
      for (int i = 0; i < kBlockHeads; ++i) {
        const float4& of_head = queries.scales[place_of(token, first + i)];
        const float query_scale = reinterpret_cast<const float*>(&of_head)[g];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          float& dot = dots[accumulator_of(i, r)];
          dot = fmaf(static_cast<float>(sums[accumulator_of(i, r)]), query_scale * key_scales[r],
                     dot);
        }
      }
    }
    const auto value = [&](int i, int r) {
      const float dot = dots[accumulator_of(i, r)];
      return dot < 0 ? 0 : dot;  // not fmaxf: a NaN stays visible
    };
    add_heads<kBlockHeads>(queries.weights, first, value, scores);
  }
}

}  // namespace precis::cuda::wide
