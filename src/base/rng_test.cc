#include "base/rng.h"

#include <set>

#include <gtest/gtest.h>

namespace precis {
namespace {

TEST(Rng, DrawsAreAFunctionOfSeedAndIndex) {
  EXPECT_EQ(random_bits(1, 2), random_bits(1, 2));
  std::set<std::uint64_t> seen;
  for (std::uint64_t seed = 0; seed < 64; ++seed) {
    for (std::uint64_t i = 0; i < 64; ++i) seen.insert(random_bits(seed, i));
  }
  EXPECT_EQ(seen.size(), 64u * 64u);
}

TEST(Rng, UnitDrawsHaveTheMomentsOfAUniform) {
  constexpr int kN = 100000;
  double sum = 0;
  double sum_sq = 0;
  for (int i = 0; i < kN; ++i) {
    const double u = random_unit(7, static_cast<std::uint64_t>(i));
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    sum += u;
    sum_sq += u * u;
  }
  // Standard errors of mean and second moment: sqrt(1/12n) and sqrt(4/45n); six of each.
  EXPECT_NEAR(sum / kN, 0.5, 6 * 0.2887 / 316.2);
  EXPECT_NEAR(sum_sq / kN, 1.0 / 3, 6 * 0.2981 / 316.2);
}

}  // namespace
}  // namespace precis
