#include "tensor/quant.h"

#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "tensor/bf16.h"
#include "tensor/float4.h"
#include "tensor/float8.h"

namespace precis {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> random_bf16(std::size_t n, float spread, std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0f, spread);
  std::vector<float> out(n);
  for (float& value : out) value = round_to_bf16(normal(generator));
  return out;
}

// The least e with 2^e >= x, by search in exact doubles.
int ceil_log2(double x) {
  int e = -200;
  while (std::ldexp(1.0, e) < x) ++e;
  return e;
}

TEST(GroupScale, ZeroE4m3GroupGivesByte105) {
  EXPECT_EQ(e4m3_group_scale(0.0f), 105);
  EXPECT_EQ(e4m3_group_scale(1e-4f), 105);
}

TEST(GroupScale, ZeroE2m1GroupGivesTheLeastNormalPower) {
  EXPECT_EQ(e2m1_group_scale(0.0f), 1);
}

TEST(GroupScale, FollowsTheRuleForEveryBf16Magnitude) {
  for (std::uint32_t upper = 0; upper < 0x7f80; ++upper) {
    const float amax = std::bit_cast<float>(upper << 16);
    const float by_448 = std::fmax(amax, 1e-4f) * (1.0f / 448.0f);
    const float by_6 = std::fmax(amax, 6 * 0x1p-126f) * (1.0f / 6.0f);
    EXPECT_EQ(e4m3_group_scale(amax), ceil_log2(by_448) + 127) << amax;
    EXPECT_EQ(e2m1_group_scale(amax), ceil_log2(by_6) + 127) << amax;
  }
}

TEST(GroupScale, FullRangeMaximaNeedNoLargerScale) {
  EXPECT_EQ(e4m3_group_scale(448.0f), 127);
  EXPECT_EQ(e2m1_group_scale(3.0f), 126);
  EXPECT_EQ(e2m1_group_scale(6.0f), 127);
}

TEST(QuantizeGroup, E4m3ErrorStaysWithinHalfAStep) {
  for (const std::size_t group : {kKvGroup, kActivationGroup}) {
    const std::vector<float> x = random_bf16(group, 3.0f, 1);
    std::vector<std::uint8_t> codes(group);
    const float scale = decode_e8m0(quantize_group_e4m3(x, codes));
    for (std::size_t i = 0; i < group; ++i) {
      const float step = std::fmax(std::fabs(x[i]) / 16, scale * 0x1p-10f);
      EXPECT_LE(std::fabs(decode_e4m3(codes[i]) * scale - x[i]), step) << i << " " << x[i];
    }
  }
}

TEST(QuantizeGroup, ZeroGroupKeepsCodesZeroAndSigns) {
  std::vector<float> x(64, 0.0f);
  x[5] = -0.0f;
  std::vector<std::uint8_t> codes(64, 0xaa);
  EXPECT_EQ(quantize_group_e4m3(x, codes), 105);
  for (std::size_t i = 0; i < 64; ++i) EXPECT_EQ(codes[i], i == 5 ? 0x80 : 0x00) << i;
}

TEST(QuantizeGroup, E2m1CodesOfExactValuesAreExact) {
  std::vector<float> x(32);
  for (std::size_t i = 0; i < 32; ++i) x[i] = kE2m1Values[i % 16] * 0x1p-3f;
  std::vector<std::uint8_t> packed(16);
  EXPECT_EQ(quantize_group_e2m1(x, packed), 127 - 3);
  for (std::size_t i = 0; i < 32; ++i) EXPECT_EQ(unpack_e2m1(packed.data(), i), i % 16) << i;
}

TEST(QuantizeGroup, NanAndInfinityTurnTheWholeGroupIntoNan) {
  for (const float bad : {kNan, -kNan, std::numeric_limits<float>::infinity()}) {
    for (const std::size_t place : {0u, 13u, 31u}) {
      std::vector<float> x = random_bf16(32, 1.0f, 2);
      x[place] = bad;
      std::vector<std::uint8_t> codes(32), packed(16);
      EXPECT_EQ(quantize_group_e4m3(x, codes), kE8m0Nan);
      EXPECT_EQ(quantize_group_e2m1(x, packed), kE8m0Nan);
      fake_quantize_row_e2m1(x, 32);
      for (const float value : x) EXPECT_TRUE(std::isnan(value));
    }
  }
}

TEST(QuantizeRow, LastGroupMayBeShorter) {
  const std::vector<float> x = random_bf16(150, 1.0f, 3);
  std::vector<std::uint8_t> codes(150), scales(3), part(22);
  quantize_row_e4m3(x, 64, codes, scales);
  EXPECT_EQ(quantize_group_e4m3(std::span(x).subspan(128), part), scales[2]);
  EXPECT_TRUE(std::equal(part.begin(), part.end(), codes.begin() + 128));
}

TEST(QuantizeRow, EmptyRowTouchesNothing) {
  quantize_row_e4m3({}, 64, {}, {});
  quantize_row_e2m1({}, 32, {}, {});
  fake_quantize_row_e4m3({}, 64);
}

TEST(FakeQuantize, E4m3EqualsStoringAndReadingBack) {
  const std::vector<float> x = random_bf16(448, 2.0f, 4);
  std::vector<std::uint8_t> codes(448), scales(7);
  quantize_row_e4m3(x, kKvGroup, codes, scales);
  std::vector<float> fake = x;
  fake_quantize_row_e4m3(fake, kKvGroup);
  for (std::size_t i = 0; i < x.size(); ++i) {
    EXPECT_EQ(fake[i], decode_e4m3(codes[i]) * decode_e8m0(scales[i / kKvGroup])) << i;
    EXPECT_EQ(fake[i], round_to_bf16(fake[i])) << i;
  }
}

TEST(FakeQuantize, E2m1EqualsStoringAndReadingBack) {
  const std::vector<float> x = random_bf16(128, 2.0f, 5);
  std::vector<std::uint8_t> packed(64), scales(4);
  quantize_row_e2m1(x, kFp4Group, packed, scales);
  std::vector<float> fake = x;
  fake_quantize_row_e2m1(fake, kFp4Group);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const float code = decode_e2m1(unpack_e2m1(packed.data(), i));
    EXPECT_EQ(fake[i], code * decode_e8m0(scales[i / kFp4Group])) << i;
    EXPECT_EQ(fake[i], round_to_bf16(fake[i])) << i;
  }
}

TEST(FakeQuantize, IsIdempotent) {
  std::vector<float> once = random_bf16(256, 1.0f, 6);
  fake_quantize_row_e4m3(once, kActivationGroup);
  std::vector<float> twice = once;
  fake_quantize_row_e4m3(twice, kActivationGroup);
  EXPECT_EQ(once, twice);
}

// Scales are distinct powers of two and all codes are 1.0, so an element's value names the block it
// was scaled by.
TEST(Fp8Weight, RaggedEdgesUseTheirOwnBlocks) {
  constexpr std::size_t kRows = 130, kCols = 257;
  const std::vector<std::uint8_t> codes(kRows * kCols, encode_e4m3(1.0f));
  const std::vector<std::uint8_t> scales = {127, 128, 129, 130, 131, 132};
  const Fp8Weight weight{codes, scales, kRows, kCols};
  std::vector<float> out(kCols);
  for (std::size_t row = 0; row < kRows; ++row) {
    decode_row(weight, row, out);
    for (std::size_t col = 0; col < kCols; ++col) {
      const std::size_t block = row / 128 * 3 + col / 128;
      ASSERT_EQ(out[col], std::ldexp(1.0f, static_cast<int>(block))) << row << "," << col;
    }
  }
}

TEST(Fp8Weight, ReadsTheRowThatWasAsked) {
  std::vector<std::uint8_t> codes(3 * 5);
  std::iota(codes.begin(), codes.end(), std::uint8_t{0x30});
  const std::vector<std::uint8_t> scales = {126};
  std::vector<float> out(5);
  decode_row(Fp8Weight{codes, scales, 3, 5}, 2, out);
  for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(out[i], decode_e4m3(codes[10 + i]) * 0.5f) << i;
}

TEST(Fp4Weight, NibblesAndGroupsLandInOrder) {
  constexpr std::size_t kRows = 2, kCols = 48;
  std::vector<std::uint8_t> packed(kRows * kCols / 2);
  for (std::size_t i = 0; i < packed.size(); ++i) {
    packed[i] = pack_e2m1((2 * i) % 16, (2 * i + 1) % 16);
  }
  const std::vector<std::uint8_t> scales = {127, 128, 129, 130};
  std::vector<float> out(kCols);
  for (std::size_t row = 0; row < kRows; ++row) {
    decode_row(Fp4Weight{packed, scales, kRows, kCols}, row, out);
    for (std::size_t col = 0; col < kCols; ++col) {
      const float scale = std::ldexp(1.0f, static_cast<int>(row * 2 + col / 32));
      EXPECT_EQ(out[col], kE2m1Values[(row * kCols + col) % 16] * scale) << row << "," << col;
    }
  }
}

TEST(FindNanScale, NamesTheFirstOne) {
  std::vector<std::uint8_t> scales(100, 127);
  EXPECT_FALSE(find_nan_scale(scales).has_value());
  EXPECT_FALSE(find_nan_scale({}).has_value());
  scales[40] = scales[70] = 255;
  EXPECT_EQ(find_nan_scale(scales), 40u);
}

}  // namespace
}  // namespace precis
