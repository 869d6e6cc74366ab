#include "tensor/float8.h"

#include <cmath>

#include <gtest/gtest.h>

namespace precis {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The format's definition in exact arithmetic, apart from the table under test.
float e4m3_by_definition(int code) {
  const int exponent = (code >> 3) & 0xf;
  const int mantissa = code & 7;
  const double magnitude =
      exponent == 0 ? std::ldexp(mantissa / 8.0, -6) : std::ldexp(1 + mantissa / 8.0, exponent - 7);
  return static_cast<float>((code & 0x80) != 0 ? -magnitude : magnitude);
}

TEST(E4m3, EveryCodeDecodesByTheDefinition) {
  for (int code = 0; code < 256; ++code) {
    const float value = decode_e4m3(static_cast<std::uint8_t>(code));
    if ((code & 0x7f) == 0x7f) {
      EXPECT_TRUE(std::isnan(value)) << code;
    } else {
      EXPECT_EQ(value, e4m3_by_definition(code)) << code;
    }
    EXPECT_EQ(std::signbit(value), code >= 0x80) << code;
  }
}

TEST(E4m3, EveryCodeSurvivesTheWayThroughFloat) {
  for (int code = 0; code < 256; ++code) {
    EXPECT_EQ(encode_e4m3(decode_e4m3(static_cast<std::uint8_t>(code))), code);
  }
}

TEST(E4m3, RoundsToNearestAndTiesToEvenAtEveryBoundary) {
  for (int low = 0; low < 0x7e; ++low) {
    const float midpoint = (e4m3_by_definition(low) + e4m3_by_definition(low + 1)) / 2;
    const int even = low % 2 == 0 ? low : low + 1;
    for (const int sign : {0, 0x80}) {
      const float s = sign == 0 ? 1.0f : -1.0f;
      EXPECT_EQ(encode_e4m3(s * std::nextafter(midpoint, 0.0f)), low | sign);
      EXPECT_EQ(encode_e4m3(s * midpoint), even | sign);
      EXPECT_EQ(encode_e4m3(s * std::nextafter(midpoint, kInfinity)), (low + 1) | sign);
    }
  }
}

TEST(E4m3, EveryBf16InputGoesToANearestCode) {
  for (std::uint32_t upper = 0; upper < 0x7f80; ++upper) {
    const float value = std::bit_cast<float>(upper << 16);
    const std::uint8_t code = encode_e4m3(value);
    ASSERT_LE(code, 0x7e) << value;
    const float error = std::fabs(decode_e4m3(code) - std::fmin(value, kE4m3Max));
    if (code > 0) {
      EXPECT_LE(error, std::fabs(decode_e4m3(code - 1) - std::fmin(value, kE4m3Max))) << value;
    }
    if (code < 0x7e) {
      EXPECT_LE(error, std::fabs(decode_e4m3(code + 1) - std::fmin(value, kE4m3Max))) << value;
    }
  }
}

TEST(E4m3, SaturatesPastTheLargestValueAndKeepsNan) {
  for (const float value : {449.0f, 464.0f, 1e30f, std::numeric_limits<float>::max(), kInfinity}) {
    EXPECT_EQ(encode_e4m3(value), 0x7e) << value;
    EXPECT_EQ(encode_e4m3(-value), 0xfe) << value;
  }
  EXPECT_EQ(encode_e4m3(std::numeric_limits<float>::quiet_NaN()), 0x7f);
  EXPECT_EQ(encode_e4m3(std::bit_cast<float>(0xff800001u)), 0xff);
}

TEST(E4m3, ZeroAndUnderflowKeepTheirSign) {
  const float tiny = std::numeric_limits<float>::denorm_min();
  EXPECT_EQ(encode_e4m3(0.0f), 0x00);
  EXPECT_EQ(encode_e4m3(-0.0f), 0x80);
  EXPECT_EQ(encode_e4m3(tiny), 0x00);
  EXPECT_EQ(encode_e4m3(-tiny), 0x80);
}

TEST(E8m0, EveryByteIsItsPowerOfTwo) {
  for (int byte = 0; byte < 255; ++byte) {
    EXPECT_EQ(decode_e8m0(static_cast<std::uint8_t>(byte)), std::ldexp(1.0, byte - 127)) << byte;
  }
  EXPECT_TRUE(std::isnan(decode_e8m0(255)));
}

TEST(E8m0, EncodingGivesTheLeastPowerOfTwoNotBelow) {
  for (int exponent = -126; exponent < 127; ++exponent) {
    const float power = std::ldexp(1.0f, exponent);
    EXPECT_EQ(encode_e8m0_ceil(power), exponent + 127);
    EXPECT_EQ(encode_e8m0_ceil(std::nextafter(power, kInfinity)), exponent + 128);
    EXPECT_EQ(encode_e8m0_ceil(std::nextafter(2 * power, 0.0f)), exponent + 128);
  }
}

TEST(E8m0, WhatHasNoScaleGivesNan) {
  EXPECT_EQ(encode_e8m0_ceil(std::numeric_limits<float>::max()), kE8m0Nan);
  EXPECT_EQ(encode_e8m0_ceil(kInfinity), kE8m0Nan);
  EXPECT_EQ(encode_e8m0_ceil(std::numeric_limits<float>::quiet_NaN()), kE8m0Nan);
}

}  // namespace
}  // namespace precis
