#include "tensor/bf16.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

namespace precis {
namespace {

float value_of(std::uint32_t code) {
  return bf16::from_bits(static_cast<std::uint16_t>(code));
}

TEST(Bf16, EveryPatternSurvivesTheWayThroughFloat) {
  for (std::uint32_t code = 0; code < 0x10000; ++code) {
    const float value = value_of(code);
    const std::uint16_t back = bf16(value).bits;
    if (std::isnan(value)) {
      EXPECT_EQ(back, code | 0x40) << code;  // NaN comes back quiet
    } else {
      EXPECT_EQ(back, code);
    }
  }
}

// Between each pair of neighbours: just below the midpoint, the midpoint, just above it.
TEST(Bf16, RoundsToNearestAndTiesToEvenAtEveryBoundary) {
  for (std::uint32_t sign : {0u, 0x8000u}) {
    for (std::uint32_t low = 0; low < 0x7f80; ++low) {
      const std::uint32_t midpoint = ((low | sign) << 16) | 0x8000;
      const std::uint32_t even = (low & 1) == 0 ? low : low + 1;
      const auto rounded = [](std::uint32_t bits) { return bf16(std::bit_cast<float>(bits)).bits; };
      EXPECT_EQ(rounded(midpoint - 1), low | sign);
      EXPECT_EQ(rounded(midpoint), even | sign);
      EXPECT_EQ(rounded(midpoint + 1), (low + 1) | sign);
    }
  }
}

TEST(Bf16, ValuesPastTheLargestRoundToInfinity) {
  EXPECT_EQ(bf16(std::numeric_limits<float>::max()).bits, 0x7f80);
  EXPECT_EQ(bf16(std::numeric_limits<float>::lowest()).bits, 0xff80);
  EXPECT_EQ(bf16(std::numeric_limits<float>::infinity()).bits, 0x7f80);
}

TEST(Bf16, NanWithPayloadInTheLowerHalfStaysNan) {
  for (std::uint32_t bits : {0x7f800001u, 0x7fffffffu, 0xff800001u, 0xffffffffu, 0x7f80ffffu}) {
    const bf16 code(std::bit_cast<float>(bits));
    EXPECT_TRUE(std::isnan(static_cast<float>(code))) << std::hex << bits;
    EXPECT_EQ(code.bits >> 15, bits >> 31) << std::hex << bits;
  }
}

TEST(Bf16, ConversionsHoldAtCompileTime) {
  static_assert(bf16(1.0f).bits == 0x3f80);
  static_assert(bf16(-0.0f).bits == 0x8000);
  static_assert(round_to_bf16(1.00390625f) == 1.0f);  // 1 + 2^-8 is a tie
  SUCCEED();
}

}  // namespace
}  // namespace precis
