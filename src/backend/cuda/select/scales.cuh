// Rows of 128 codes, and when the scales of their four groups become shifts of the codes.
#pragma once

#include "backend/cuda/select/call.cuh"

namespace precis::cuda {

inline constexpr int kGroups = 4;
inline constexpr int kRowBytes = 64;  // of codes

// Scales that may become shifts: near enough to 1 that no score is subnormal or infinite.
inline constexpr std::uint32_t kLeastScale = 127 - 20;
inline constexpr std::uint32_t kGreatestScale = 127 + 20;
inline constexpr std::uint32_t kMaxSpan = 3;
inline constexpr std::uint32_t kPlainScales = 0x7f7f7f7f;

struct ScaleRange {
  std::uint32_t least;
  std::uint32_t greatest;

  __device__ explicit ScaleRange(std::uint32_t bytes) {
    const std::uint32_t even = bytes & 0x00ff00ff;
    const std::uint32_t odd = (bytes >> 8) & 0x00ff00ff;
    const std::uint32_t low = __vminu2(even, odd);
    const std::uint32_t high = __vmaxu2(even, odd);
    least = min(low & 0xffff, low >> 16);
    greatest = max(high & 0xffff, high >> 16);
  }
  __device__ bool is_plain() const {
    return least >= kLeastScale && greatest <= kGreatestScale && greatest - least <= kMaxSpan;
  }
};

__device__ inline std::uint32_t byte_of(std::uint32_t word, int i) {
  return (word >> (8 * i)) & 0xff;
}

// A negative integer read as a float is a NaN, which saturation makes 0; a small positive one is
// subnormal: max(sum, 0) · 2^-23.
__device__ inline float positive_part(std::int32_t sum) {
  float out;
  asm("mul.sat.f32 %0, %1, 0f7e800000;" : "=f"(out) : "f"(__int_as_float(sum)));
  return out;
}

}  // namespace precis::cuda
