#include "eval/statistics.h"

#include <gtest/gtest.h>

namespace precis {
namespace {

// What n successes without a miss prove.
TEST(Wilson, LowerBoundsOfPerfectScores) {
  EXPECT_NEAR(wilson_interval(1, 5).low, 0.5655, 1e-4);
  EXPECT_NEAR(wilson_interval(1, 55).low, 0.9347, 1e-4);
  EXPECT_LT(wilson_interval(1, 72).low, 0.95);
  EXPECT_GE(wilson_interval(1, 73).low, 0.95);
  EXPECT_LT(wilson_interval(1, 380).low, 0.99);
  EXPECT_GE(wilson_interval(1, 381).low, 0.99);
  EXPECT_DOUBLE_EQ(wilson_interval(1, 5).high, 1);
}

TEST(Wilson, IsSymmetricAndOpenWithoutTrials) {
  const Interval a = wilson_interval(0.3, 20);
  const Interval b = wilson_interval(0.7, 20);
  EXPECT_NEAR(a.low, 1 - b.high, 1e-12);
  EXPECT_DOUBLE_EQ(wilson_interval(0.5, 0).low, 0);
  EXPECT_DOUBLE_EQ(wilson_interval(0.5, 0).high, 1);
}

TEST(Bootstrap, DrawsWholeGroups) {
  // Ten questions of one haystack are one piece of evidence: the interval reaches both extremes.
  const std::vector<std::vector<double>> groups = {std::vector<double>(10, 1.0),
                                                   std::vector<double>(10, 0.0)};
  EXPECT_DOUBLE_EQ(bootstrap_interval(groups).low, 0);
  EXPECT_DOUBLE_EQ(bootstrap_interval(groups).high, 1);
  std::vector<std::vector<double>> many;
  for (int i = 0; i < 100; ++i) many.push_back({i % 2 == 0 ? 1.0 : 0.0});
  const Interval interval = bootstrap_interval(many);
  EXPECT_NEAR(interval.low, 0.40, 0.03);
  EXPECT_NEAR(interval.high, 0.60, 0.03);
}

TEST(McNemar, IsTheExactTwoSidedSignTest) {
  EXPECT_DOUBLE_EQ(mcnemar_p(0, 0), 1);
  EXPECT_NEAR(mcnemar_p(0, 5), 0.0625, 1e-12);
  EXPECT_NEAR(mcnemar_p(5, 0), 0.0625, 1e-12);
  EXPECT_NEAR(mcnemar_p(3, 10), 0.092285, 1e-6);
  EXPECT_DOUBLE_EQ(mcnemar_p(4, 4), 1);
}

}  // namespace
}  // namespace precis
