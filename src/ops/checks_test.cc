#include <gtest/gtest.h>

#include "ops/op_test_util.h"

namespace precis {
namespace {

// A broken shape must end the program and name the argument; one case per kind of check.
class ChecksDeathTest : public testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }

  std::vector<float> x_ = std::vector<float>(64);
  std::vector<float> out_ = std::vector<float>(64);
};

TEST_F(ChecksDeathTest, WrongRowsNameTheView) {
  EXPECT_DEATH(check(RmsNormArgs{mat(x_, 4, 8), std::span(x_).first(8), mat(out_, 3, 8)}),
               "out.rows.*3 vs 4");
}

TEST_F(ChecksDeathTest, WrongSpanNamesIt) {
  EXPECT_DEATH(check(RmsNormArgs{mat(x_, 4, 8), std::span(x_).first(7), mat(out_, 4, 8)}),
               "weight.size.*7 vs 8");
}

TEST_F(ChecksDeathTest, NullDataNamesTheView) {
  EXPECT_DEATH(check(RmsNormArgs{{nullptr, 4, 8}, std::span(x_).first(8), mat(out_, 4, 8)}),
               "x.*null");
}

TEST_F(ChecksDeathTest, EmptyViewsMayBeNull) {
  check(RmsNormArgs{{nullptr, 0, 8}, std::span(x_).first(8), {nullptr, 0, 8}});
}

TEST_F(ChecksDeathTest, OverlappingRowsAreRefused) {
  EXPECT_DEATH(check(RmsNormArgs{{x_.data(), 4, 8, 7}, std::span(x_).first(8), mat(out_, 4, 8)}),
               "mat.cols <= mat.stride");
}

TEST_F(ChecksDeathTest, TokenIdsOutsideTheTableAreRefused) {
  const TestBackend ref({"ref", ""});
  const TestWeight table = make_weight(WeightFormat::kF32, 3, 8, Fill::kIntegers, 1);
  const auto weight = ref->load_weight(table.source());
  const std::vector<std::int32_t> ids = {0, 3};
  EXPECT_DEATH(check(EmbedArgs{ids, weight.get(), {out_.data(), 2, 1, 8}}), "id < .*3 vs 3");
}

TEST_F(ChecksDeathTest, LinearRefusesItsInputAsOutput) {
  const TestBackend ref({"ref", ""});
  const TestWeight square = make_weight(WeightFormat::kF32, 8, 8, Fill::kIntegers, 1);
  const auto weight = ref->load_weight(square.source());
  const LinearTarget target{weight.get(), mat(x_, 8, 8)};
  EXPECT_DEATH(check(LinearArgs{mat(x_, 8, 8), {&target, 1}}), "target.out.data != args.x.data");
}

TEST_F(ChecksDeathTest, GroupedProductsAreNotQuantised) {
  LinearArgs args;
  args.x = mat(x_, 8, 8);
  args.n_groups = 2;
  args.input = InputQuant::kFp8Group128;
  EXPECT_DEATH(check(args), "n_groups == 1");
}

TEST_F(ChecksDeathTest, RoutingTakesScoresOrTheTable) {
  const TestBackend ref({"ref", ""});
  const TestWeight square = make_weight(WeightFormat::kF32, 8, 8, Fill::kIntegers, 1);
  const auto gate = ref->load_weight(square.source());
  std::vector<std::int32_t> experts(2);
  RouteArgs args;
  args.x = mat(x_, 1, 8);
  args.gate = gate.get();
  args.expert_idx = mat(experts, 1, 2);
  args.weight = mat(out_, 1, 2);
  EXPECT_DEATH(check(args), "bias.size.*0 vs 8");
}

TEST_F(ChecksDeathTest, AttendRefusesTwoSelections) {
  AttendArgs args;
  const KvRowFormat format{64, 0};
  const TestPool pool(2, 1, format);
  args.q = {x_.data(), 1, 1, 64};
  args.out = {out_.data(), 1, 1, 64};
  args.format = format;
  args.window = {pool.view(), 1, 0};
  args.compressed = pool.view();
  const TestRope rope = real_rope(1, 0, 0);
  args.rope = rope.table();
  const std::vector<std::int32_t> rows = {0};
  args.selection.listed = mat(rows, 1, 1);
  check(args);
  args.selection.n_first = rows;
  EXPECT_DEATH(check(args), "n_first.empty");
}

TEST_F(ChecksDeathTest, ExpertsMustAscend) {
  const TestBackend ref({"ref", ""});
  const TestWeight square = make_weight(WeightFormat::kF32, 8, 8, Fill::kIntegers, 1);
  const auto weight = ref->load_weight(square.source());
  const ExpertWeights expert{weight.get(), weight.get(), weight.get()};
  const std::vector<ExpertWeights> experts(2, expert);
  const std::vector<std::int32_t> descending = {1, 0};
  ExpertsArgs args;
  args.x = mat(x_, 1, 8);
  args.out = mat(out_, 1, 8);
  args.expert_idx = mat(descending, 1, 2);
  args.weight = mat(x_, 1, 2);
  args.experts = experts;
  args.shared = expert;
  EXPECT_DEATH(check(args), "previous <= expert");
}

}  // namespace
}  // namespace precis
