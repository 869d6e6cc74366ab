// The 8-bit formats: e4m3 codes (values) and e8m0 bytes (power-of-two scales), one code at a time.
//
// Encoders work on f32 bits without branches, so that loops over them vectorise.  Rounding is to
// nearest, ties to the even code, by a float addition in the default rounding mode.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <limits>

namespace precis {

inline constexpr float kE4m3Max = 448.0f;
inline constexpr std::uint8_t kE4m3Nan = 0x7f;
inline constexpr std::uint8_t kE8m0Nan = 0xff;

namespace detail {

constexpr std::array<float, 256> make_e4m3_values() {
  std::array<float, 256> values{};
  for (std::uint32_t code = 0; code < 256; ++code) {
    const std::uint32_t sign = (code & 0x80) << 24;
    const std::uint32_t magnitude = code & 0x7f;
    float value;
    if (magnitude == kE4m3Nan) {
      value = std::numeric_limits<float>::quiet_NaN();
    } else if (magnitude < 8) {
      value = static_cast<float>(magnitude) * 0x1p-9f;
    } else {
      value = std::bit_cast<float>((magnitude << 20) + (120u << 23));  // exponent bias 7 -> 127
    }
    values[code] = std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) | sign);
  }
  return values;
}

}  // namespace detail

/// The value of every e4m3 code: sign, 4 exponent bits (bias 7), 3 mantissa bits; 0x7f and 0xff
/// NaN.
inline constexpr std::array<float, 256> kE4m3Values = detail::make_e4m3_values();

/// The value of an e4m3 code.
///
/// Errors    none
constexpr float decode_e4m3(std::uint8_t code) {
  return kE4m3Values[code];
}

/// The e4m3 code nearest to `value`; beyond ±448, infinities included, it saturates to ±448.
///
/// Ensures   the sign survives, that of zero and NaN included; NaN gives 0x7f or 0xff
/// Errors    none
constexpr std::uint8_t encode_e4m3(float value) {
  constexpr auto kMaxBits = std::bit_cast<std::int32_t>(kE4m3Max);
  constexpr auto kMinNormalBits = std::bit_cast<std::int32_t>(0x1p-6f);

  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto magnitude = static_cast<std::int32_t>(bits & 0x7fffffff);
  const std::int32_t clamped = std::min(magnitude, kMaxBits);
  // 2^E, the binade of the value, no lower than the one that subnormal codes share.
  const std::int32_t binade = std::max(clamped & 0x7f800000, kMinNormalBits);
  // Codes in a binade are 2^(E-3) apart, which is one unit in the last place of 2^(E+20): the
  // addition rounds, and its low bits count steps from zero.
  const std::int32_t anchor = binade + (20 << 23);
  const float sum = std::bit_cast<float>(clamped) + std::bit_cast<float>(anchor);
  const std::int32_t steps = std::bit_cast<std::int32_t>(sum) - anchor;
  const std::int32_t finite = 8 * ((binade - kMinNormalBits) >> 23) + steps;
  const std::int32_t code = magnitude > 0x7f800000 ? kE4m3Nan : finite;
  return static_cast<std::uint8_t>(static_cast<std::uint32_t>(code) | ((bits >> 24) & 0x80));
}

/// The scale 2^(byte - 127) of an e8m0 byte; 255 is NaN.
///
/// Errors    none
constexpr float decode_e8m0(std::uint8_t byte) {
  // 2^-127 is below the normal floats, and 255 must not read as infinity.
  if (byte == 0) return 0x1p-127f;
  if (byte == kE8m0Nan) return std::numeric_limits<float>::quiet_NaN();
  return std::bit_cast<float>(static_cast<std::uint32_t>(byte) << 23);
}

/// The e8m0 byte of the least power of two that is not below `value`: 2^⌈log2 value⌉.
///
/// Requires  value is a normal positive float, infinity or NaN
/// Ensures   infinity, NaN and values above 2^127 give 255 (NaN)
/// Errors    none
/// Source    docs/model.md §4: exponent field plus one if any mantissa bit is set; never a log
///           function, whose last bit differs between libraries exactly at the powers of two
constexpr std::uint8_t encode_e8m0_ceil(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value) & 0x7fffffff;
  return static_cast<std::uint8_t>(std::min((bits + 0x7fffff) >> 23, 255u));
}

}  // namespace precis
