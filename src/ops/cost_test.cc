// The cost formulas against the published totals of the released models and against numbers made
// by hand.
#include "ops/cost.h"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

namespace precis {
namespace {

// A matrix that has a shape and no content.
class ShapeOnly : public Weight {
 public:
  ShapeOnly(WeightFormat format, std::int64_t n_out, std::int64_t n_in)
      : Weight(format, n_out, n_in) {}
};

constexpr float* kNoData = nullptr;
constexpr WeightFormat kFp8 = WeightFormat::kFp8Block;
constexpr WeightFormat kFp4 = WeightFormat::kFp4Group;
constexpr WeightFormat kBf16 = WeightFormat::kBf16;
constexpr WeightFormat kF32 = WeightFormat::kF32;

// The released shapes, in the letters of docs/glossary.md.
struct Release {
  int n_window, n_sparse, n_heavy;
  std::int64_t d, h, lq, g, lo, k, e, f;
  std::int64_t n_layers() const { return n_window + n_sparse + n_heavy; }
};
constexpr Release kFlash{2, 21, 20, 4096, 64, 1024, 8, 1024, 512, 256, 2048};
constexpr Release kPro{0, 30, 31, 7168, 128, 1536, 16, 1024, 1024, 384, 3072};
constexpr std::int64_t kDh = 512;
constexpr std::int64_t kHi = 64;
constexpr std::int64_t kDi = 128;
constexpr std::int64_t kM = 4;
constexpr std::int64_t kA = 6;
constexpr std::int64_t kV = 129280;
constexpr std::int64_t kW = 128;

Cost linear_cost(WeightFormat format, std::int64_t n_out, std::int64_t n_in, InputQuant input,
                 std::int64_t n_groups = 1) {
  const ShapeOnly weight(format, n_out, n_in);
  const std::vector<LinearTarget> targets{{&weight, {kNoData, 1, n_out}}};
  return cost(LinearArgs{.x = {kNoData, 1, n_in * n_groups},
                         .targets = targets,
                         .n_groups = static_cast<int>(n_groups),
                         .input = input});
}

Cost lin8(std::int64_t n_out, std::int64_t n_in) {
  return linear_cost(kFp8, n_out, n_in, InputQuant::kFp8Group128);
}
Cost lin16(std::int64_t n_out, std::int64_t n_in) {
  return linear_cost(kBf16, n_out, n_in, InputQuant::kNone);
}

Cost hyper_cost(std::int64_t d) {
  const ShapeOnly fn(kF32, kM * (2 + kM), kM * d);
  HyperPreArgs args;
  args.streams = {kNoData, 1, kM, d};
  args.weights.fn = &fn;
  args.x = {kNoData, 1, d};
  args.post = {kNoData, 1, kM};
  args.comb = {kNoData, 1, kM * kM};
  return cost(args);
}

Cost experts_cost(const Release& r, std::int64_t n_tokens) {
  const ShapeOnly up(kFp4, r.f, r.d), down(kFp4, r.d, r.f);
  const ShapeOnly shared_up(kFp8, r.f, r.d), shared_down(kFp8, r.d, r.f);
  const std::vector<ExpertWeights> experts(static_cast<std::size_t>(r.e), {&up, &up, &down});
  ExpertsArgs args;
  args.x = {kNoData, n_tokens, r.d};
  args.expert_idx = {nullptr, n_tokens, kA};
  args.weight = {kNoData, n_tokens, kA};
  args.experts = experts;
  args.shared = {&shared_up, &shared_up, &shared_down};
  args.expert_input = args.shared_input = InputQuant::kFp8Group128;
  args.out = {kNoData, n_tokens, r.d};
  return cost(args);
}

// One decoded token through all products of a release, attention core and indexer apart.
Cost products(const Release& r) {
  Cost sum;
  const std::int64_t q_width = r.h * kDh;
  for (std::int64_t n = 0; n < r.n_layers(); ++n) {
    sum += lin8(r.lq, r.d);
    sum += lin8(q_width, r.lq);
    sum += lin8(kDh, r.d);
    sum += linear_cost(kFp8, r.g * r.lo, q_width / r.g, InputQuant::kNone, r.g);  // wo_a
    sum += lin8(r.d, r.g * r.lo);
    sum += lin16(r.e, r.d);  // gate
    sum += experts_cost(r, 1);
    sum += hyper_cost(r.d);
    sum += hyper_cost(r.d);
  }
  for (int n = 0; n < r.n_sparse; ++n) {
    sum += lin8(kHi * kDi, r.lq);
    sum += lin16(kHi, r.d);
    for (int i = 0; i < 2; ++i) {
      sum += lin16(2 * kDh, r.d);
      sum += lin16(2 * kDi, r.d);
    }
  }
  for (int n = 0; n < 2 * r.n_heavy; ++n) sum += lin16(kDh, r.d);
  return sum;
}

// Source: docs/model.md §9, GFLOP per token by class; wo_a is counted there as FP8, here as bf16.
void expect_published(const Release& r, double lin8_gf, double lin4_gf, double bf16_gf,
                      double f32_gf) {
  const FlopCount flop = products(r).flop;
  const double wo_a = 2.0 * static_cast<double>(r.n_layers() * r.lo * r.h * kDh);
  EXPECT_NEAR((flop.fp8 + wo_a) * 1e-9, lin8_gf, 5e-4);
  EXPECT_NEAR(flop.fp4 * 1e-9, lin4_gf, 5e-4);
  EXPECT_NEAR((flop.bf16 - wo_a) * 1e-9, bf16_gf, 5e-4);
  EXPECT_NEAR(flop.f32 * 1e-9, f32_gf, 5e-4);
}

TEST(Cost, ProductsOfFlashSumToThePublishedTotals) {
  expect_published(kFlash, 11.715, 12.986, 0.709, 0.068);
}

TEST(Cost, ProductsOfProSumToThePublishedTotals) {
  expect_published(kPro, 45.401, 48.356, 1.919, 0.168);
}

TEST(Cost, HeadOfTheReleasesCostsThePublishedFlop) {
  EXPECT_NEAR(lin16(kV, kFlash.d).flop.bf16 * 1e-9, 1.059, 5e-4);
  EXPECT_NEAR(lin16(kV, kPro.d).flop.bf16 * 1e-9, 1.853, 5e-4);
}

struct AttentionFlop {
  double core_sparse = 0;
  double core_heavy = 0;
  double index = 0;
};

// One token at the end of 2^20 positions.
AttentionFlop attention_at_a_million(const Release& r) {
  constexpr std::int64_t kPosition = (1 << 20) - 1;
  AttendArgs attend;
  attend.q = attend.out = {kNoData, 1, r.h, kDh};
  attend.format = {448, 64, RopeStorage::kBf16};
  attend.window.window = kW;
  attend.window.step_begin = kPosition;
  const std::vector<std::int32_t> n_heavy_rows{(1 << 20) / 128};
  attend.selection.n_first = n_heavy_rows;
  AttentionFlop flop;
  flop.core_heavy = r.n_heavy * cost(attend).flop.bf16;

  std::vector<std::int32_t> listed(static_cast<std::size_t>(r.k));
  for (std::size_t i = 0; i < listed.size(); ++i) listed[i] = static_cast<std::int32_t>(3 * i);
  attend.selection = {{}, {listed.data(), 1, r.k}};
  flop.core_sparse = r.n_sparse * cost(attend).flop.bf16;

  const std::vector<std::int32_t> n_visible{(1 << 20) / 4};
  SelectArgs select;
  select.weights = {kNoData, 1, kHi};
  select.format = {kDi};
  select.n_visible = n_visible;
  select.out = {nullptr, 1, r.k};
  flop.index = r.n_sparse * cost(select).flop.int8;
  return flop;
}

// Source: docs/model.md §9, GFLOP of attention at 2²⁰.
TEST(Cost, AttentionAtAMillionTokensCostsThePublishedFlop) {
  const AttentionFlop flash = attention_at_a_million(kFlash);
  EXPECT_NEAR(flash.core_sparse * 1e-9, 1.76, 5e-3);
  EXPECT_NEAR(flash.core_heavy * 1e-9, 21.8, 5e-2);
  EXPECT_NEAR(flash.index * 1e-9, 90.2, 5e-2);
  const AttentionFlop pro = attention_at_a_million(kPro);
  EXPECT_NEAR(pro.core_sparse * 1e-9, 9.06, 5e-3);
  EXPECT_NEAR(pro.core_heavy * 1e-9, 67.6, 5e-2);
  EXPECT_NEAR(pro.index * 1e-9, 128.8, 5e-2);
}

// Source: docs/model.md §10, "one expert / one shared expert".
TEST(Cost, OneTokenReadsItsExpertsAndTheSharedOne) {
  const double activations = 8.0 * 4096 + 8.0 * 6;
  EXPECT_NEAR(experts_cost(kFlash, 1).bytes, 6 * 13'369'344.0 + 25'167'360.0 + activations, 1);
}

TEST(Cost, ManyTokensReadEveryExpertOnce) {
  const double activations = 4096 * (8.0 * 4096 + 8.0 * 6);
  EXPECT_NEAR(experts_cost(kFlash, 4096).bytes, 256 * 13'369'344.0 + 25'167'360.0 + activations, 1);
}

TEST(Cost, LinearReadsWeightsOnceAndActivationsPerToken) {
  const ShapeOnly weight(kFp8, 256, 128);
  const std::vector<LinearTarget> targets{{&weight, {kNoData, 3, 256}}};
  const Cost c = cost(
      LinearArgs{.x = {kNoData, 3, 128}, .targets = targets, .input = InputQuant::kFp8Group128});
  EXPECT_EQ(c.flop.fp8, 2.0 * 3 * 256 * 128);
  EXPECT_EQ(c.flop.total(), c.flop.fp8);
  EXPECT_EQ(c.bytes, 256 * 128 + 2 + 4.0 * 3 * (128 + 256));
}

TEST(Cost, StoredBytesCountScales) {
  EXPECT_EQ(stored_bytes(kFp8, 129, 128), 129 * 128 + 2);
  EXPECT_EQ(stored_bytes(kFp4, 2, 64), 2 * 32 + 2 * 2);
  EXPECT_EQ(stored_bytes(kBf16, 3, 5), 30);
  EXPECT_EQ(stored_bytes(kF32, 3, 5), 60);
}

// Two tokens at positions 2 and 3 with W = 3 see 3 + 3 window rows, 4 of them different; the listed
// rows 7 and 9 are read by the first, 9 by the second.
TEST(Cost, AttendCountsARowOfSeveralTokensOnce) {
  const std::vector<std::int32_t> listed{7, 9, 9, -1};
  AttendArgs a;
  a.q = a.out = {kNoData, 2, 1, 8};
  a.format = {4, 4, RopeStorage::kF32};
  a.window.window = 3;
  a.window.step_begin = 2;
  a.selection.listed = {listed.data(), 2, 2};
  const Cost c = cost(a);
  EXPECT_EQ(c.flop.bf16, 4.0 * 8 * (6 + 3));
  EXPECT_EQ(c.bytes, (4 + 2) * a.format.row_bytes() + 2 * 4 * 16 + 4 * 4);
}

TEST(Cost, SelectReadsKeysOnceForAllTokens) {
  const std::vector<std::int32_t> n_visible{10, 11};
  SelectArgs a;
  a.weights = {kNoData, 2, 4};
  a.format = {64};
  a.n_visible = n_visible;
  a.out = {nullptr, 2, 8};
  const Cost c = cost(a);
  EXPECT_EQ(c.flop.int8, 2.0 * 4 * 64 * 21);
  EXPECT_EQ(c.bytes, (11 + 8) * 34.0 + 4 * 8 + 4 * 16);
}

// Ratio 4 with overlap, width 2: 8 state rows of 4 channels.  A block ends at position 3.
TEST(Cost, CompressPaysForTheStateWhenABlockEnds) {
  CompressArgs a;
  a.kv = a.score = {kNoData, 1, 4};
  a.state_kv = a.state_score = {kNoData, 8, 4};
  a.ratio = 4;
  a.overlap = true;
  a.kind = CompressedKind::kIndexRow;
  a.index_format = {32};
  a.first_position = 2;
  EXPECT_EQ(cost(a).flop.total(), 0);
  EXPECT_EQ(cost(a).bytes, 2 * 16 + 2 * 16 * 1.0);
  a.first_position = 3;
  EXPECT_EQ(cost(a).flop.element, 8.0 * 4 * 4);
  EXPECT_EQ(cost(a).bytes, 2 * 16 + 2 * 16 * (1 + 8.0) + 17);
}

TEST(Cost, SumsAddEveryClass) {
  Cost sum{{.fp8 = 1, .fp4 = 2, .bf16 = 3, .f32 = 4, .int8 = 5, .element = 6}, 7};
  sum += sum;
  EXPECT_EQ(sum.flop.total(), 42);
  EXPECT_EQ(sum.bytes, 14);
}

TEST(Bound, IsTheLongerOfArithmeticAndBytes) {
  const Peak peak{.fp8_flop_per_s = 1,
                  .fp4_flop_per_s = 1,
                  .bf16_flop_per_s = 10,
                  .f32_flop_per_s = 5,
                  .int8_flop_per_s = 1,
                  .bytes_per_s = 100};
  EXPECT_DOUBLE_EQ(bound_s({{.bf16 = 20, .f32 = 5, .element = 5}, 100}, peak), 4);
  EXPECT_DOUBLE_EQ(bound_s({{.bf16 = 20}, 500}, peak), 5);
  EXPECT_DOUBLE_EQ(bound_s({}, peak), 0);
}

}  // namespace
}  // namespace precis
