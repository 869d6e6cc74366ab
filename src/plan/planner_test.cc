// Plans against the published numbers of the released models.
#include "precis/planner.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "model/config.h"
#include "plan/lineage_model.h"
#include "plan/planned_model.h"
#include "plan/released_models.h"
#include "plan/v4_model.h"
#include "plan/visible_rows.h"

namespace precis {
namespace {

constexpr std::int64_t kMillion = 1'000'000;
constexpr std::int64_t kMebi = 1 << 20;
constexpr double kGib = 1024.0 * 1024 * 1024;

PlanRequest request_of(const std::string& model, std::int64_t n_tokens) {
  PlanRequest request;
  request.model = model;
  request.contexts = {n_tokens};
  request.hardware = find_hardware("h200").value();
  return request;
}

Plan plan_of(const PlanRequest& request) {
  auto plan = make_plan(request);
  EXPECT_TRUE(plan.ok()) << (plan.ok() ? "" : plan.error().message);
  return std::move(plan).value();
}
Plan plan_of(const std::string& model, std::int64_t n_tokens) {
  return plan_of(request_of(model, n_tokens));
}

const Comparison& against(const Plan& plan, const std::string& model) {
  for (const Comparison& comparison : plan.contexts.front().comparisons) {
    if (comparison.model == model) return comparison;
  }
  ADD_FAILURE() << "no comparison with " << model;
  return plan.contexts.front().comparisons.front();
}
const Comparison& against_v32(const Plan& plan) {
  return against(plan, "DeepSeek-V3.2");
}

std::string percent(double share) {
  return fmt::format("{:.2f}", 100 * share);
}

// Source of this file's numbers: docs/model.md §8–§10.
TEST(Planner, WorkOfADecodedTokenIsThePublishedShareOfV32) {
  EXPECT_EQ(percent(against_v32(plan_of("pro", kMillion)).flop_share), "27.07");
  EXPECT_EQ(percent(against_v32(plan_of("flash", kMillion)).flop_share), "10.17");
}

TEST(Planner, CacheIsThePublishedFactorSmallerThanThatOfV32) {
  EXPECT_EQ(fmt::format("{:.3f}", against_v32(plan_of("pro", kMebi)).cache_factor), "9.545");
  EXPECT_EQ(fmt::format("{:.2f}", against_v32(plan_of("flash", kMebi)).cache_factor), "13.67");
}

TEST(Planner, CachesInBf16HaveThePublishedSizes) {
  const Plan pro = plan_of("pro", kMebi);
  EXPECT_EQ(fmt::format("{:.3f}", pro.contexts.front().kv_bf16_bytes / kGib), "9.617");
  EXPECT_EQ(fmt::format("{:.3f}", against_v32(pro).cache_bf16_bytes / kGib), "83.875");
}

TEST(Planner, CheckpointsHaveThePublishedTensorsAndBytes) {
  const auto totals = [](const char* model) {
    const WeightPlan weights = plan_of(model, 1).weights;
    EXPECT_TRUE(weights.exact);
    return std::pair(weights.n_tensors, weights.n_bytes);
  };
  EXPECT_EQ(totals("flash"), std::pair(std::int64_t{69'187}, std::int64_t{159'609'485'896}));
  EXPECT_EQ(totals("flash-0731"), std::pair(std::int64_t{72'317}, std::int64_t{166'878'536'440}));
  EXPECT_EQ(totals("pro"), std::pair(std::int64_t{145'116}, std::int64_t{864'704'792'696}));
  EXPECT_EQ(totals("pro-0813"), std::pair(std::int64_t{149'782}, std::int64_t{892'727'580'904}));
}

TEST(Planner, PartsOfTheWeightsSumToTheTotal) {
  for (const char* model : {"flash", "pro-0813", "v3.2", "v4.1-flash"}) {
    const WeightPlan weights = plan_of(model, 1).weights;
    std::int64_t sum = 0;
    for (const WeightPart& part : weights.parts) sum += part.n_bytes;
    EXPECT_EQ(sum, weights.n_bytes) << model;
  }
  EXPECT_EQ(plan_of("flash", 1).weights.routed_expert_bytes, 147'169'738'752);
  EXPECT_EQ(plan_of("pro", 1).weights.routed_expert_bytes, 822'054'223'872);
}

// GF of a decoded token by the definition used, at three lengths.
TEST(Planner, EquivalentFlopOfADecodedTokenAreThePublishedOnes) {
  const std::map<std::string, std::array<const char*, 3>> published{
      {"v3.2", {"150.8", "277.7", "1146.1"}},
      {"pro", {"122.6", "146.5", "310.2"}},
      {"flash", {"33.0", "43.6", "116.6"}}};
  for (const auto& [model, gigaflop] : published) {
    PlanRequest request = request_of(model, 4096);
    request.contexts = {4096, 131'072, kMillion};
    const Plan plan = plan_of(request);
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(fmt::format("{:.1f}", plan.contexts[i].decode_equivalent_flop / 1e9), gigaflop[i])
          << model << " at " << plan.contexts[i].n_tokens;
    }
  }
}

TEST(Planner, OtherDefinitionsGiveTheirOwnShares) {
  const auto shares = [](std::size_t i, std::int64_t n_tokens) {
    std::string text;
    for (const char* model : {"pro", "flash"}) {
      const Plan plan = plan_of(model, n_tokens);
      text += fmt::format("{:.1f} ", 100 * against_v32(plan).other_flop_shares.at(i));
    }
    return text;
  };
  EXPECT_EQ(shares(0, kMebi), "26.2 12.1 ");     // every FLOP 1
  EXPECT_EQ(shares(1, kMebi), "20.9 8.4 ");      // core in FP8
  EXPECT_EQ(shares(2, kMillion), "32.4 13.9 ");  // index in FP8
}

// Prefill of 2^20 tokens.  The published figures have the logits of every token; a prompt needs
// those of its last one.
TEST(Planner, PrefillCostsThePublishedFlop) {
  const auto prefill = [](const char* model) {
    const ContextPlan context = plan_of(model, kMebi).contexts.front();
    const auto& parts = context.decode.parts;
    const auto head = std::ranges::find(parts, "head", &PartPlan::part);
    const double other_logits = (kMebi - 1) * head->equivalent_flop;
    return fmt::format("{:.2e}", context.prefill.equivalent_flop() + other_logits);
  };
  EXPECT_EQ(prefill("v3.2"), "7.03e+17");
  EXPECT_EQ(prefill("pro"), "2.31e+17");
  EXPECT_EQ(prefill("flash"), "8.04e+16");
}

TEST(Planner, CacheGrowsByThePublishedBytes) {
  EXPECT_DOUBLE_EQ(plan_of("flash", 1).kv_bytes_per_token, 3514.25);
  EXPECT_DOUBLE_EQ(plan_of("pro", 1).kv_bytes_per_token, 5031.4375);
  EXPECT_DOUBLE_EQ(plan_of("v3.2", 1).kv_bytes_per_token, 61 * 788);
  EXPECT_DOUBLE_EQ(plan_of("v4.1-flash", 1).kv_bytes_per_token, 890);
}

// V2's and V3's published parameter counts, 236 B and 671 B; one byte a parameter of V3's products,
// two of V2's.
TEST(Planner, WeightsOfThePredecessorsAreNearTheirParameterCounts) {
  EXPECT_NEAR(static_cast<double>(plan_of("v2", 1).weights.n_bytes) / 2, 236e9, 1e9);
  EXPECT_NEAR(static_cast<double>(plan_of("v3", 1).weights.n_bytes), 671e9, 3e9);
}

TEST(Planner, ABatchReadsDenseWeightsOnceAndEveryCache) {
  PlanRequest request = request_of("flash", 131'072);
  const PhasePlan one = plan_of(request).contexts.front().decode;
  request.batch = 16;
  const PhasePlan many = plan_of(request).contexts.front().decode;
  EXPECT_DOUBLE_EQ(many.flop().products(), 16 * one.flop().products());
  const auto bytes_of = [](const PhasePlan& phase, const std::string& name) {
    for (const PartPlan& part : phase.parts) {
      if (part.part == name) return part.bytes;
    }
    return 0.0;
  };
  EXPECT_LT(bytes_of(many, "projections"), 1.1 * bytes_of(one, "projections"));
  EXPECT_DOUBLE_EQ(bytes_of(many, "attention, heavy"), 16 * bytes_of(one, "attention, heavy"));
}

TEST(Planner, TwoDevicesHalveTheTimeBound) {
  PlanRequest request = request_of("flash", 8192);
  const double one = plan_of(request).contexts.front().decode.seconds();
  request.n_gpus = 2;
  EXPECT_DOUBLE_EQ(plan_of(request).contexts.front().decode.seconds(), one / 2);
}

TEST(Placement, ProposesChangesThatFit) {
  PlanRequest request = request_of("flash", kMebi);
  const Placement tight = plan_of(request).contexts.front().placement;
  EXPECT_FALSE(tight.fits);
  EXPECT_EQ(tight.n_gpus_needed, 2);
  EXPECT_EQ(tight.max_batch, 0);
  EXPECT_GT(tight.experts_off_card, 0);
  EXPECT_LT(tight.experts_off_card, tight.n_experts);

  request.n_gpus = static_cast<int>(tight.n_gpus_needed);
  Placement roomy = plan_of(request).contexts.front().placement;
  EXPECT_TRUE(roomy.fits);
  ASSERT_GT(roomy.max_batch, 1);
  request.batch = roomy.max_batch;
  EXPECT_TRUE(plan_of(request).contexts.front().placement.fits);
  request.batch = roomy.max_batch + 1;
  EXPECT_FALSE(plan_of(request).contexts.front().placement.fits);
  request.contexts = {plan_of(request).contexts.front().placement.max_context};
  EXPECT_TRUE(plan_of(request).contexts.front().placement.fits);
}

TEST(Planner, BundledModelIsPlannedFromItsFiles) {
  const auto dir = std::filesystem::path(PRECIS_MODELS) / "mini";
  const Plan plan = plan_of(dir.string(), 4096);
  EXPECT_EQ(plan.model, "mini");
  EXPECT_TRUE(plan.weights.exact);
  const auto config = load_config(dir);
  EXPECT_EQ(plan.weights.n_bytes, released_weights(*config).n_bytes);
  EXPECT_EQ(plan.weights.n_tensors, released_weights(*config).n_tensors);
}

TEST(Planner, EveryBuiltInModelHasAPlan) {
  for (const std::string& name : model_names()) {
    const Plan plan = plan_of(name, 8192);
    EXPECT_GT(plan.contexts.front().decode_tok_per_s, 0) << name;
    EXPECT_GT(plan.contexts.front().prefill_tok_per_s, 0) << name;
    EXPECT_GT(plan.contexts.front().kv.total(), 0) << name;
  }
}

TEST(Planner, RefusesWhatItCannotPlan) {
  EXPECT_EQ(make_plan(request_of("gpt", 1)).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(make_plan(request_of("flash", 0)).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(make_plan(request_of("flash", kMebi + 1)).error().code, ErrorCode::kInvalidArgument);
  PlanRequest request = request_of("flash", 1);
  request.batch = 0;
  EXPECT_EQ(make_plan(request).error().code, ErrorCode::kInvalidArgument);
  request.batch = 1;
  request.n_gpus = 0;
  EXPECT_EQ(make_plan(request).error().code, ErrorCode::kInvalidArgument);
  request.n_gpus = 1;
  request.contexts.clear();
  EXPECT_EQ(make_plan(request).error().code, ErrorCode::kInvalidArgument);
}

TEST(LineageModel, RefusesConfigurationsItDoesNotKnow) {
  EXPECT_EQ(make_lineage_model("[]", "x").error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(make_lineage_model(R"({"model_type":"llama"})", "x").error().code,
            ErrorCode::kUnsupported);
  const auto missing = make_lineage_model(R"({"model_type":"deepseek_v3"})", "x");
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().message, "x: num_hidden_layers: want a number");
}

TEST(VisibleRows, ClosedFormEqualsTheSum) {
  for (const std::int64_t ratio : {1, 4, 7, 128}) {
    for (const std::int64_t cap : {std::int64_t{1}, std::int64_t{5}, std::int64_t{1} << 62}) {
      double sum = 0;
      for (std::int64_t p = 0; p < 700; ++p) {
        EXPECT_EQ(sum_visible(p, ratio, cap), sum) << p << " / " << ratio << " cap " << cap;
        sum += static_cast<double>(std::min(cap, (p + 1) / ratio));
      }
    }
  }
}

}  // namespace
}  // namespace precis
