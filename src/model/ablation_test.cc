#include "model/ablation.h"

#include <algorithm>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "model/model_test_util.h"

namespace precis {
namespace {

using Rows = std::vector<std::int32_t>;

Rows rows_of(const RowAblation& ablation, std::int64_t position, std::int64_t n_visible, int k,
             int layer = 2) {
  Rows out(static_cast<std::size_t>(k), 7777);
  replacement_rows(ablation, layer, position, n_visible, out);
  return out;
}

TEST(ReplacementRows, AreVisibleDifferentAndAsManyAsTheIndexerSelects) {
  constexpr int kRows = 32;
  for (const Ablation kind : {Ablation::kRandom, Ablation::kRecent}) {
    for (std::int64_t n_visible : {0, 1, 2, 31, 32, 33, 34, 64, 1000, 262144}) {
      const Rows rows = rows_of({kind, 1}, 4 * n_visible, n_visible, kRows);
      const auto n = static_cast<std::size_t>(std::min<std::int64_t>(n_visible, kRows));
      EXPECT_EQ(std::set<std::int32_t>(rows.begin(), rows.begin() + static_cast<int>(n)).size(), n);
      for (std::size_t i = 0; i < rows.size(); ++i) {
        if (i >= n) {
          EXPECT_EQ(rows[i], -1) << n_visible;
        } else {
          EXPECT_TRUE(rows[i] >= 0 && rows[i] < n_visible) << rows[i] << " of " << n_visible;
        }
      }
    }
  }
}

TEST(ReplacementRows, RecentOnesAreTheLast) {
  EXPECT_EQ(rows_of({Ablation::kRecent, 1}, 403, 100, 4), (Rows{99, 98, 97, 96}));
}

TEST(ReplacementRows, FollowFromSeedLayerAndPositionAlone) {
  const Rows rows = rows_of({Ablation::kRandom, 1}, 4001, 1000, 16);
  rows_of({Ablation::kRandom, 1}, 17, 4, 16);  // no state is carried from call to call
  EXPECT_EQ(rows_of({Ablation::kRandom, 1}, 4001, 1000, 16), rows);
  EXPECT_NE(rows_of({Ablation::kRandom, 2}, 4001, 1000, 16), rows);
  EXPECT_NE(rows_of({Ablation::kRandom, 1}, 4002, 1000, 16), rows);
  EXPECT_NE(rows_of({Ablation::kRandom, 1}, 4001, 1000, 16, 4), rows);
}

// Each of 40 rows is one of the 8 with probability 1/5: 4,000 of 20,000 times, standard deviation 57.
TEST(ReplacementRows, EveryRowIsAsLikely) {
  std::vector<int> counts(40);
  for (std::int64_t position = 0; position < 20000; ++position) {
    for (const std::int32_t row : rows_of({Ablation::kRandom, 1}, position, 40, 8)) ++counts[row];
  }
  for (const int count : counts) EXPECT_NEAR(count, 4000, 5 * 57);
}

TEST(RowAblation, TakesAwayWhatItsNameSays) {
  const auto reads = [](Ablation kind, LayerKind layer) {
    return RowAblation{kind, 1}.reads_compressed(layer);
  };
  for (const AblationInfo& info : ablations()) {
    EXPECT_FALSE(reads(info.ablation, LayerKind::kWindow)) << info.name;
    EXPECT_EQ(reads(info.ablation, LayerKind::kSparse),
              info.name != "window" && info.name != "csa-off");
    EXPECT_EQ(reads(info.ablation, LayerKind::kHeavy),
              info.name != "window" && info.name != "hca-off");
    EXPECT_EQ((RowAblation{info.ablation, 1}.reads_all(LayerKind::kSparse)), info.name == "dense");
  }
}

TEST(ParseAblation, KnowsEveryNameAndListsThem) {
  for (const AblationInfo& info : ablations()) {
    const auto parsed = parse_ablation(info.name);
    ASSERT_TRUE(parsed.ok());
    EXPECT_EQ(*parsed, info.ablation);
    EXPECT_EQ(ablation_info(*parsed).name, info.name);
  }
  expect_error(parse_ablation("nearest"), ErrorCode::kInvalidArgument,
               {"none, window, random, recent, dense, csa-off, hca-off", "\"nearest\""});
}

}  // namespace
}  // namespace precis
