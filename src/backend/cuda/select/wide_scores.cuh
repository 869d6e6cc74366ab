// The wide selection's scores, from products: of the rows lane / 4 and lane / 4 + 8 of a warp, for token
// lane % 4, or, of the only token, in lane % 4 == 3.
#pragma once

#include "backend/cuda/select/wide_keys.cuh"

namespace precis::cuda::wide {

inline constexpr int kBlockHeads = 16;
inline constexpr int kBlockColumns = kBlockHeads * kLanesOfRow;

// A negative integer read as a float is a NaN, which saturation makes 0; a small positive one is
// subnormal: max(sum, 0) · 2^-23.
__device__ inline float positive_part(std::int32_t sum) {
  float out;
  asm("mul.sat.f32 %0, %1, 0f7e800000;" : "=f"(out) : "f"(__int_as_float(sum)));
  return out;
}

template <int kTokens>
__device__ float4 four_weights(const float* weights, int lane_of_row, int i) {
  return *reinterpret_cast<const float4*>(&weights[Slots<kTokens>::place(lane_of_row, i)]);
}

// Adds kCount of the lane's heads, from slot `first` on, to two chains; value(j, r) is of slot j, row r.
template <int kTokens, int kCount, typename Value>
__device__ void add_heads(const float* weights, int first, const Value& value, float (&scores)[2]) {
  const int lane_of_row = static_cast<int>(threadIdx.x) % kLanesOfRow;
#pragma unroll
  for (int i = 0; i < kCount; i += 4) {
    const float4 w = four_weights<kTokens>(weights, lane_of_row, first + i);
    const float each[4] = {w.x, w.y, w.z, w.w};
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int r = 0; r < 2; ++r) scores[r] = fmaf(each[j], value(i + j, r), scores[r]);
    }
  }
}

// As add_heads for the only token: the chain passes from lane to lane of a row.  A lane's own result is
// of use when all before it have had their turn.
template <int kCount, typename Value>
__device__ void add_heads_in_turn(const float* weights, const Value& value, float (&scores)[2]) {
#pragma unroll
  for (int turn = 0; turn < kLanesOfRow; ++turn) {
    if (turn > 0) {
#pragma unroll
      for (int r = 0; r < 2; ++r) scores[r] = __shfl_up_sync(0xffffffff, scores[r], 1);
    }
    add_heads<1, kCount>(weights, 0, value, scores);
  }
}

__device__ constexpr int accumulator_of(int slot, int row) {
  return slot / 2 * 4 + 2 * row + slot % 2;
}

template <int kTokens>
__device__ void add_sums(const QueryTile<kTokens>& queries,
                         const std::int32_t (&sums)[Slots<kTokens>::kColumns / 2],
                         float (&scores)[2]) {
  constexpr int kOwn = Slots<kTokens>::kOwn;
  if constexpr (kTokens == 1) {
    float values[2 * kOwn];
#pragma unroll
    for (int i = 0; i < 2 * kOwn; ++i) values[i] = positive_part(sums[i]);
    add_heads_in_turn<kOwn>(
        queries.scaled_weights, [&](int i, int r) { return values[accumulator_of(i, r)]; }, scores);
  } else {
    add_heads<kTokens, kOwn>(
        queries.scaled_weights, 0,
        [&](int i, int r) { return positive_part(sums[accumulator_of(i, r)]); }, scores);
  }
}

// Any scales: the sums of one group after the other, 16 heads of each lane at a time.
template <int kTokens>
__device__ void add_group_sums(const QueryTile<kTokens>& queries, const PackedKeys& keys,
                               float (&scores)[2]) {
  const int group = static_cast<int>(threadIdx.x) % kLanesOfRow;
#pragma unroll 1
  for (int first = 0; first < Slots<kTokens>::kOwn; first += kBlockHeads) {
    const std::uint64_t b = describe(queries.bytes + first * kLanesOfRow * kAtomRowBytes);
    float dots[kBlockColumns / 2] = {};
#pragma unroll 1
    for (int g = 0; g < kGroups; ++g) {
      PackedKeys part = keys;
#pragma unroll
      for (int r = 0; r < 2; ++r) {
#pragma unroll
        for (int w = 0; w < 4; ++w) part.words[r][w] = group == g ? keys.words[r][w] : 0;
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
        const float4& of_head = queries.scales[Slots<kTokens>::place(group, first + i)];
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
    if constexpr (kTokens == 1) {
      add_heads_in_turn<kBlockHeads>(queries.weights, value, scores);
    } else {
      add_heads<kTokens, kBlockHeads>(queries.weights, first, value, scores);
    }
  }
}

}  // namespace precis::cuda::wide
