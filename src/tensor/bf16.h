// bf16: the upper half of an f32, as storage.  Arithmetic is done in float; the only way in rounds
// to nearest, ties to even, and says so by being explicit.
#pragma once

#include <bit>
#include <cstdint>

namespace precis {

struct bf16 {
  std::uint16_t bits;

  bf16() = default;
  constexpr explicit bf16(float value) : bits(round_bits(value)) {}
  static constexpr bf16 from_bits(std::uint16_t bits) {
    bf16 out(0.0f);
    out.bits = bits;
    return out;
  }

  /// The exact value; every bf16 is a float.
  constexpr operator float() const {  // NOLINT: implicit, exact
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  }

 private:
  static constexpr std::uint16_t round_bits(float value) {
    const auto f32 = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t rounded = (f32 + 0x7fff + ((f32 >> 16) & 1)) >> 16;
    // A NaN whose payload sits in the lower half would round to infinity, or wrap to zero: keep its
    // upper half and set the quiet bit.
    const std::uint32_t quiet = (f32 >> 16) | 0x40;
    return static_cast<std::uint16_t>((f32 & 0x7fffffff) > 0x7f800000 ? quiet : rounded);
  }
};

static_assert(sizeof(bf16) == 2);

/// `value` rounded to bf16 and back: what a bf16 store followed by a load gives.
///
/// Errors    none
constexpr float round_to_bf16(float value) {
  return bf16(value);
}

}  // namespace precis
