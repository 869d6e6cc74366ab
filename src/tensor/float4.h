// The 4-bit format e2m1 (0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives), and its packing of two
// codes a byte: the low nibble is the element with the even index along K.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

namespace precis {

inline constexpr float kE2m1Max = 6.0f;

/// The value of every e2m1 code: bit 3 is the sign.
inline constexpr std::array<float, 16> kE2m1Values = {
    0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,   //
    -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f,  //
};

/// The value of an e2m1 code, taken from the low four bits.
///
/// Errors    none
constexpr float decode_e2m1(std::uint8_t code) {
  return kE2m1Values[code & 0xf];
}

/// The e2m1 code nearest to `value`, ties to the even code; beyond ±6 it saturates.
///
/// Ensures   the sign survives, that of zero included; NaN, which the format lacks, gives ±6
/// Errors    none
/// Source    docs/model.md §4: 0.25→0, 0.75→1, 1.25→1, 1.75→2, 2.5→2, 3.5→4, 5→4
constexpr std::uint8_t encode_e2m1(float value) {
  constexpr auto kMaxBits = std::bit_cast<std::int32_t>(kE2m1Max);
  constexpr auto kMinNormalBits = std::bit_cast<std::int32_t>(1.0f);

  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::int32_t clamped = std::min(static_cast<std::int32_t>(bits & 0x7fffffff), kMaxBits);
  // As in encode_e4m3: codes in the binade 2^E are 2^(E-1) apart, one unit in the last place of
  // 2^(E+22).
  const std::int32_t binade = std::max(clamped & 0x7f800000, kMinNormalBits);
  const std::int32_t anchor = binade + (22 << 23);
  const float sum = std::bit_cast<float>(clamped) + std::bit_cast<float>(anchor);
  const std::int32_t steps = std::bit_cast<std::int32_t>(sum) - anchor;
  const std::int32_t code = 2 * ((binade - kMinNormalBits) >> 23) + steps;
  return static_cast<std::uint8_t>(static_cast<std::uint32_t>(code) | ((bits >> 28) & 0x8));
}

/// The byte that holds `even` in its low and `odd` in its high nibble.
///
/// Requires  both codes below 16
/// Errors    none
constexpr std::uint8_t pack_e2m1(std::uint8_t even, std::uint8_t odd) {
  return static_cast<std::uint8_t>(even | (odd << 4));
}

/// The code of element `index` in packed codes.
///
/// Errors    none
constexpr std::uint8_t unpack_e2m1(const std::uint8_t* packed, std::uint64_t index) {
  return (packed[index / 2] >> (4 * (index % 2))) & 0xf;
}

}  // namespace precis
