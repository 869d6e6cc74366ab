#include "engine/saved_points.h"

#include <gtest/gtest.h>

namespace precis {
namespace {

SavedPoint point_at(std::int64_t n_tokens) {
  SavedPoint point;
  point.frontier.n_tokens = n_tokens;
  point.frontier.fixed.resize(100);
  point.logits = {static_cast<float>(n_tokens)};
  return point;
}

// Positions of all points, newest first.
std::vector<std::int64_t> positions(const SavedPoints& points, std::int64_t end) {
  std::vector<std::int64_t> out;
  while (const SavedPoint* point = points.latest_at_or_before(end)) {
    out.push_back(point->frontier.n_tokens);
    end = out.back() - 1;
  }
  return out;
}

TEST(SavedPoints, FindsTheLastPointThatIsNotTooFar) {
  SavedPoints points(4);
  EXPECT_EQ(points.latest_at_or_before(1000), nullptr);
  points.add(point_at(10));
  points.add(point_at(20));
  EXPECT_EQ(points.latest_at_or_before(9), nullptr);
  EXPECT_EQ(points.latest_at_or_before(10)->frontier.n_tokens, 10);
  EXPECT_EQ(points.latest_at_or_before(19)->frontier.n_tokens, 10);
  EXPECT_EQ(points.latest_at_or_before(1000)->frontier.n_tokens, 20);
}

TEST(SavedPoints, PointAtTheSamePositionIsReplaced) {
  SavedPoints points(4);
  points.add(point_at(10));
  SavedPoint again = point_at(10);
  again.logits = {7};
  points.add(std::move(again));
  EXPECT_EQ(points.size(), 1u);
  EXPECT_EQ(points.latest_at_or_before(10)->logits, std::vector<float>{7});
}

TEST(SavedPoints, DropAfterKeepsThePointAtTheEnd) {
  SavedPoints points(8);
  for (const std::int64_t n : {5, 10, 15}) points.add(point_at(n));
  points.drop_after(10);
  EXPECT_EQ(positions(points, 100), (std::vector<std::int64_t>{10, 5}));
  points.drop_after(0);
  EXPECT_EQ(points.size(), 0u);
}

TEST(SavedPoints, BytesAreThoseOfFrontiersAndLogits) {
  SavedPoints points(8);
  points.add(point_at(1));
  points.add(point_at(2));
  EXPECT_EQ(points.n_bytes(), 2 * (100 + 4));
}

TEST(SavedPoints, ThinningKeepsTheNewestAndCoversTheTimelineEvenly) {
  constexpr int kMaxPoints = 16;
  SavedPoints points(kMaxPoints);
  for (std::int64_t n = 1; n <= 1000; ++n) {
    points.add(point_at(n * 10));
    ASSERT_EQ(points.latest_at_or_before(n * 10)->frontier.n_tokens, n * 10);
    ASSERT_LE(points.size(), static_cast<std::size_t>(kMaxPoints));
    if (n < 200) continue;
    // Going back anywhere costs at most a few times what 16 equal gaps would.
    std::int64_t newer = n * 10;
    for (const std::int64_t position : positions(points, n * 10)) {
      ASSERT_LE(newer - position, 4 * n * 10 / kMaxPoints) << "after " << n * 10;
      newer = position;
    }
    ASSERT_LE(newer, 4 * n * 10 / kMaxPoints) << "after " << n * 10;
  }
}

// A long text leaves as many points as there is room for; then come questions about it, one by one.
TEST(SavedPoints, TheEndOfALongTextStaysWhileQuestionsComeAndGo) {
  constexpr int kMaxPoints = 16;
  SavedPoints points(kMaxPoints);
  for (std::int64_t n = 1; n <= 100; ++n) points.add(point_at(n * SavedPoints::kIntervalTokens));
  const std::int64_t text = 100 * SavedPoints::kIntervalTokens + 500;
  points.add(point_at(text));
  for (const std::int64_t question : {40, 31, 55, 40}) {
    points.add(point_at(text + question));
    ASSERT_EQ(points.latest_at_or_before(text + question - 1)->frontier.n_tokens, text);
    points.drop_after(text);
  }
}

TEST(SavedPoints, IntervalsEndAtMultiples) {
  EXPECT_EQ(SavedPoints::tokens_to_next_interval(0), 8192);
  EXPECT_EQ(SavedPoints::tokens_to_next_interval(8191), 1);
  EXPECT_EQ(SavedPoints::tokens_to_next_interval(8192), 8192);
}

}  // namespace
}  // namespace precis
