#include "tensor/float4.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

namespace precis {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(E2m1, EveryCodeSurvivesTheWayThroughFloat) {
  for (std::uint8_t code = 0; code < 16; ++code) {
    EXPECT_EQ(encode_e2m1(decode_e2m1(code)), code);
  }
}

TEST(E2m1, DecodeLooksAtTheLowNibbleOnly) {
  EXPECT_EQ(decode_e2m1(0xf7), 6.0f);
  EXPECT_EQ(decode_e2m1(0x79), -0.5f);
}

TEST(E2m1, TiesGoToTheEvenCode) {
  constexpr float kTies[][2] = {{0.25f, 0}, {0.75f, 1}, {1.25f, 1}, {1.75f, 2},
                                {2.5f, 2},  {3.5f, 4},  {5.0f, 4}};
  for (const auto& [tie, value] : kTies) {
    EXPECT_EQ(decode_e2m1(encode_e2m1(tie)), value) << tie;
    EXPECT_EQ(decode_e2m1(encode_e2m1(-tie)), -value) << tie;
  }
}

TEST(E2m1, RoundsToNearestBesideEveryTie) {
  for (std::uint8_t low = 0; low < 7; ++low) {
    const std::uint8_t high = low + 1;
    const float midpoint = (kE2m1Values[low] + kE2m1Values[high]) / 2;
    EXPECT_EQ(encode_e2m1(std::nextafter(midpoint, 0.0f)), low);
    EXPECT_EQ(encode_e2m1(std::nextafter(midpoint, kInfinity)), high);
    EXPECT_EQ(encode_e2m1(-std::nextafter(midpoint, 0.0f)), low | 8);
    EXPECT_EQ(encode_e2m1(-std::nextafter(midpoint, kInfinity)), high | 8);
  }
}

TEST(E2m1, EveryBf16InputGoesToANearestCode) {
  for (std::uint32_t upper = 0; upper < 0x7f80; ++upper) {
    const float value = std::bit_cast<float>(upper << 16);
    const float clamped = std::fmin(value, kE2m1Max);
    float least = kInfinity;
    for (int code = 0; code < 8; ++code) {
      least = std::fmin(least, std::fabs(kE2m1Values[code] - clamped));
    }
    EXPECT_EQ(std::fabs(decode_e2m1(encode_e2m1(value)) - clamped), least) << value;
  }
}

TEST(E2m1, SaturatesPastTheLargestValueAndKeepsTheSignOfZero) {
  for (const float value : {6.5f, 1e30f, kInfinity, std::numeric_limits<float>::quiet_NaN()}) {
    EXPECT_EQ(encode_e2m1(value), 7) << value;
  }
  EXPECT_EQ(encode_e2m1(-kInfinity), 15);
  EXPECT_EQ(encode_e2m1(-0.0f), 8);
}

TEST(E2m1, LowNibbleIsTheEvenIndex) {
  const std::uint8_t packed[] = {pack_e2m1(0x1, 0x9), pack_e2m1(0x7, 0xf)};
  EXPECT_EQ(packed[0], 0x91);
  EXPECT_EQ(unpack_e2m1(packed, 0), 0x1);
  EXPECT_EQ(unpack_e2m1(packed, 1), 0x9);
  EXPECT_EQ(unpack_e2m1(packed, 2), 0x7);
  EXPECT_EQ(unpack_e2m1(packed, 3), 0xf);
}

}  // namespace
}  // namespace precis
