// The planner's FLOP against those that a backend was asked for, on the bundled model and on small
// layers of the released kinds: equal to the last one.
#include <array>
#include <filesystem>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "checkpoint/safetensors.h"
#include "model/one_sequence_test_util.h"
#include "model/small_config_test_util.h"
#include "model/synthetic.h"
#include "plan/v4_work.h"

namespace precis {
namespace {

constexpr std::int64_t kChunk = 64;
constexpr std::int64_t kMaxTokens = 2048;

// A loaded model whose backend counts.
class Counted {
 public:
  explicit Counted(const std::filesystem::path& dir)
      : run_(load_config(dir).value(), std::move(Checkpoint::open(dir)).value(), "cpu",
             Rounding::kBf16, kChunk, kMaxTokens) {
    run_.backend->count_into(&counter_);
  }

  const ModelConfig& config() const { return run_.model.config(); }

  // Extends the sequence to `n_tokens` and gives what that was counted to cost.
  Cost extend_to(std::int64_t n_tokens) {
    counter_.reset();
    while (run_.cache.n_tokens() < n_tokens) {
      const std::int64_t n = std::min(kChunk, n_tokens - run_.cache.n_tokens());
      std::vector<std::int32_t> ids;
      for (std::int64_t i = 0; i < n; ++i) {
        ids.push_back(static_cast<std::int32_t>((run_.cache.n_tokens() + i) * 7 % 64));
      }
      run_.cache.reserve(n);
      const std::array<SequenceStep, 1> step{{{&run_.cache, ids}}};
      run_.model.forward(step);
      if (run_.cache.n_tokens() == n_tokens) run_.model.logits(n - 1, 1);
    }
    return counter_.total();
  }

 private:
  OpCounter counter_;  // outlives the backend
  OneSequence run_;
};

void expect_equal(const FlopCount& planned, const FlopCount& counted) {
  EXPECT_EQ(planned.fp8, counted.fp8);
  EXPECT_EQ(planned.fp4, counted.fp4);
  EXPECT_EQ(planned.bf16, counted.bf16);
  EXPECT_EQ(planned.f32, counted.f32);
  EXPECT_EQ(planned.int8, counted.int8);
  EXPECT_EQ(planned.element, counted.element);
}

// Prefill of each length from an empty cache, then one decoded token behind it.
void expect_plan_equals_counts(const std::filesystem::path& dir, const MatrixFormats& formats) {
  for (const std::int64_t n_tokens : {1, 3, 4, 127, 128, 129, 300, 1023}) {
    SCOPED_TRACE(fmt::format("{} tokens", n_tokens));
    Counted counted(dir);
    const Cost prefill = counted.extend_to(n_tokens);
    expect_equal(prefill_work(counted.config(), formats, n_tokens, kChunk).total().flop,
                 prefill.flop);
    const Cost decode = counted.extend_to(n_tokens + 1);
    const Cost planned = step_work(counted.config(), formats, {1, 1, n_tokens, 1}).total();
    expect_equal(planned.flop, decode.flop);
    EXPECT_DOUBLE_EQ(planned.bytes, decode.bytes);
  }
}

struct Synthetic {
  const char* name;
  SmallConfig config;
  SyntheticDtypes dtypes;
  MatrixFormats formats;
};

TEST(CountedWork, PlanEqualsCountsOnSmallReleasedLayers) {
  constexpr MatrixFormats kBf16{WeightFormat::kBf16, WeightFormat::kBf16};
  for (const Synthetic& s :
       {Synthetic{
            "Flash", {.hidden = 1024, .ratios = "[0,0,4,128,4]"}, SyntheticDtypes::kRelease, {}},
        Synthetic{
            "Pro", {.heads = 6, .ratios = "[128,128,4,128,4]"}, SyntheticDtypes::kRelease, {}},
        Synthetic{
            "Pro in bf16", {.heads = 6, .ratios = "[128,4]"}, SyntheticDtypes::kBf16, kBf16}}) {
    SCOPED_TRACE(s.name);
    const auto dir =
        std::filesystem::temp_directory_path() / fmt::format("precis_counted_{}", ::getpid());
    const auto written = write_synthetic(dir, {small_config_json(s.config), s.dtypes, 3, {}});
    ASSERT_TRUE(written.ok()) << written.error().message;
    expect_plan_equals_counts(dir, s.formats);
    std::filesystem::remove_all(dir);
  }
}

TEST(CountedWork, PlanEqualsCountsOnTheBundledModel) {
  expect_plan_equals_counts(std::filesystem::path(PRECIS_MODELS) / "mini", {});
}

}  // namespace
}  // namespace precis
