#include "ops/rope.h"

#include <cmath>

#include <gtest/gtest.h>

namespace precis {
namespace {

const YarnScaling kReleasedYarn{16, 65536, 32, 1};

TEST(RopeFrequencies, PlainPowersOfTheta) {
  const std::vector<float> frequencies = rope_frequencies(64, 10000, {});
  ASSERT_EQ(frequencies.size(), 32u);
  EXPECT_EQ(frequencies[0], 1.0f);
  EXPECT_FLOAT_EQ(frequencies[16], 0.01f);
  EXPECT_FLOAT_EQ(frequencies[8], 0.1f);
}

TEST(RopeFrequencies, ReleasedYarnValues) {
  const std::vector<float> f = rope_frequencies(64, 160000, kReleasedYarn);
  const struct {
    int pair;
    double want;  // docs/model.md §5.3, to the digits printed there
    double digit;
  } values[] = {{1, 0.687656, 1e-6},      {15, 3.635539e-3, 1e-9},  {16, 2.265625e-3, 1e-9},
                {20, 2.969778e-4, 1e-10}, {24, 1.953125e-5, 1e-11}, {25, 5.372312e-6, 1e-12},
                {31, 5.680529e-7, 1e-13}};
  for (const auto& [pair, want, digit] : values) EXPECT_NEAR(f[pair], want, digit) << pair;
}

TEST(RopeFrequencies, YarnKeepsFastPairsAndDividesSlowOnes) {
  const std::vector<float> plain = rope_frequencies(64, 160000, {});
  const std::vector<float> yarn = rope_frequencies(64, 160000, kReleasedYarn);
  for (int j = 0; j <= 15; ++j) EXPECT_EQ(yarn[j], plain[j]) << j;
  for (int j = 16; j < 25; ++j) EXPECT_LT(yarn[j], plain[j]) << j;
  for (int j = 25; j < 32; ++j) EXPECT_EQ(yarn[j], plain[j] / 16) << j;
}

TEST(RopeFrequencies, FactorOneOrNoOriginalLengthLeavesThem) {
  const std::vector<float> plain = rope_frequencies(32, 160000, {});
  EXPECT_EQ(rope_frequencies(32, 160000, {1, 65536, 32, 1}), plain);
  EXPECT_EQ(rope_frequencies(32, 160000, {16, 0, 32, 1}), plain);
  EXPECT_TRUE(rope_frequencies(0, 10000, {}).empty());
}

TEST(RopeFrequencies, ShortOriginalLengthClipsTheRamp) {
  // The ramp would begin below pair 0: c(32) = -3.4 and c(1) = 10.1 at 64 positions.
  const std::vector<float> plain = rope_frequencies(64, 10000, {});
  const std::vector<float> yarn = rope_frequencies(64, 10000, {4, 64, 32, 1});
  EXPECT_EQ(yarn[0], plain[0]);
  EXPECT_LT(yarn[1], plain[1]);
  EXPECT_EQ(yarn[31], plain[31] / 4);
}

TEST(RopeTable, HoldsCosinesThenSinesOfEachPosition) {
  const std::vector<float> frequencies = {1.0f, 0.25f};
  std::vector<float> values(3 * 4);
  fill_rope_table(frequencies, 8, 4, {values.data(), 3, 4});
  const RopeTable table{{values.data(), 3, 4}, 8, 4};
  EXPECT_EQ(table.n_pairs(), 2);
  for (int i = 0; i < 3; ++i) {
    const double position = 8 + 4 * i;
    for (int j = 0; j < 2; ++j) {
      EXPECT_FLOAT_EQ(table.cos(i)[j], static_cast<float>(std::cos(position * frequencies[j])));
      EXPECT_FLOAT_EQ(table.sin(i)[j], static_cast<float>(std::sin(position * frequencies[j])));
    }
  }
}

// The spacing of f32 angles near 10^6 is 1/16 rad: an f64 angle would differ visibly.
TEST(RopeTable, AngleIsTheF32Product) {
  const float frequency = 0.687656f;
  const std::int64_t position = 1'000'003;
  float values[2];
  fill_rope_table({&frequency, 1}, position, 1, {values, 1, 2});
  const float angle = static_cast<float>(position) * frequency;
  EXPECT_EQ(values[0], static_cast<float>(std::cos(static_cast<double>(angle))));
  EXPECT_EQ(values[1], static_cast<float>(std::sin(static_cast<double>(angle))));
  const double exact = static_cast<double>(position) * frequency;
  EXPECT_GT(std::abs(values[0] - std::cos(exact)), 1e-4);
}

TEST(RopeTable, RowsDependOnTheirPositionAlone) {
  const std::vector<float> frequencies = rope_frequencies(32, 160000, kReleasedYarn);
  std::vector<float> all(9 * 32);
  std::vector<float> part(3 * 32);
  fill_rope_table(frequencies, 100, 4, {all.data(), 9, 32});
  fill_rope_table(frequencies, 112, 4, {part.data(), 3, 32});
  for (int i = 0; i < 3 * 32; ++i) EXPECT_EQ(part[i], all[3 * 32 + i]);
}

}  // namespace
}  // namespace precis
