// What the kernels of the selection share: their arguments, and codes as signed bytes.
//
// Twice an e2m1 value is one of 0, ±1, ±2, ±3, ±4, ±6, ±8, ±12, and shifted left by up to three bits
// it is a signed byte still.
#pragma once

#include <span>

#include "backend/cuda/device.h"
#include "backend/cuda/numbers.cuh"
#include "backend/cuda/select/best_rows.cuh"
#include "ops/select.h"

namespace precis::cuda {

struct SelectCall {
  Rows queries;
  Mat<const float> weights;
  float weight_scale;
  Rows keys;
  const std::int32_t* n_visible;
  Mat<std::int32_t> out;
  Rounding rounding;
  Meeting meeting;  // of the blocks along x, where there are several

  __device__ float weight_of(float stored) const {
    return round_as(stored * weight_scale, rounding);
  }
  __device__ float weight(std::int64_t t, int head) const {
    return weight_of(weights.data[t * weights.stride + head]);
  }
};

/// Rows of 128 channels, at most 64 heads, pages of 16 rows or a multiple, and K as shared memory allows:
/// the released models.
bool is_wide_select(const Device& device, const SelectArgs& args);
void launch_wide_select(Device& device, SelectCall call);
/// Of those the ones of one token, with pages of a multiple of 32 rows, and K to 2048.
bool is_decode_select(const SelectArgs& args);
/// Such calls, all of the same K.
void launch_decode_selects(Device& device, std::span<const SelectCall> calls);
/// Any number of heads, rows of 1, 2, 4 or 8 groups.
void launch_general_select(Device& device, const SelectCall& call, int row_groups);

/// Gives `calls`, all of the same K, the memory in which n_splits blocks of each of n_groups groups of
/// their tokens meet.
void prepare_meeting(Device& device, std::span<SelectCall> calls, int n_splits, int n_groups);

/// Writes the selection of a block's tokens first_token … + n_tokens − 1 from their lists, and from
/// those of the blocks that share the tokens.  By the whole block, after a barrier; `histogram` and
/// `scratch` as write_best and write_best_of_all want them.
template <int kThreads, int kMaxTokens, typename ListOf, typename StepsOf>
__device__ void write_selection(const SelectCall& c, std::int64_t first_token, int n_tokens,
                                const ListOf& list_of, const StepsOf& first_steps, int* histogram,
                                std::byte* scratch) {
  if (gridDim.x == 1) {
    const auto k = static_cast<int>(c.out.cols);
    for (int i = 0; i < n_tokens; ++i) {
      write_best<kThreads>(list_of(i), k, histogram, c.out.data + (first_token + i) * c.out.stride);
    }
    return;
  }
  Meeting meeting = c.meeting;
  meeting.arrived += blockIdx.y;
  write_best_of_all<kThreads, kMaxTokens>(meeting, static_cast<int>(blockIdx.x), first_token,
                                          n_tokens, list_of, first_steps, scratch, c.out);
}

/// The bytes of the eight magnitudes, and of their negatives.
struct ByteTable {
  std::uint32_t positive[2];
  std::uint32_t negative[2];

  __device__ explicit ByteTable(int shift) {
    positive[0] = 0x03020100u << shift;
    positive[1] = 0x0c080604u << shift;
    // 128 − m for each byte, which borrows nothing, less 128.
#pragma unroll
    for (int i = 0; i < 2; ++i) negative[i] = (0x80808080u - positive[i]) ^ 0x80808080u;
  }
  /// Four codes (the low half of a word): `magnitudes` has their lower three bits, `signs` bit 3 as 1.
  __device__ std::uint32_t bytes(std::uint32_t magnitudes, std::uint32_t signs) const {
    const std::uint32_t plus = __byte_perm(positive[0], positive[1], magnitudes);
    const std::uint32_t minus = __byte_perm(negative[0], negative[1], magnitudes);
    const std::uint32_t is_minus = __byte_perm(0x0000ff00, 0, signs);
    return (plus & ~is_minus) | (minus & is_minus);
  }
  /// Eight codes.
  __device__ uint2 bytes(std::uint32_t word) const {
    const std::uint32_t magnitudes = word & 0x77777777u;
    const std::uint32_t signs = (word >> 3) & 0x11111111u;
    return {bytes(magnitudes, signs), bytes(magnitudes >> 16, signs >> 16)};
  }
};

/// Four bytes that need not be aligned.
__device__ inline std::uint32_t load_word(const std::uint8_t* data) {
  if (reinterpret_cast<std::uintptr_t>(data) % 4 == 0) {
    return *reinterpret_cast<const std::uint32_t*>(data);
  }
  std::uint32_t word = 0;
#pragma unroll
  for (int b = 0; b < 4; ++b) word |= static_cast<std::uint32_t>(data[b]) << (8 * b);
  return word;
}
/// Sixteen.
__device__ inline uint4 load_words(const std::uint8_t* data) {
  if (reinterpret_cast<std::uintptr_t>(data) % 16 == 0) {
    return *reinterpret_cast<const uint4*>(data);
  }
  return {load_word(data), load_word(data + 4), load_word(data + 8), load_word(data + 12)};
}

}  // namespace precis::cuda
