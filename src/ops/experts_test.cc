#include "ops/experts.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/op_test_util.h"

namespace precis {
namespace {

PRECIS_OP_SUITE(Route);
PRECIS_OP_SUITE(Experts);

struct RouteCase {
  std::int64_t n_experts = 16;
  int n_active = 2;
  std::int64_t width = 64;
  std::vector<float> x = {};     // [T, D]
  TestWeight gate = {};          // [E, D]
  std::vector<float> bias = {};  // [E]
  std::vector<std::int32_t> tid2eid = {};
  std::vector<std::int32_t> ids = {};
  float route_scale = 1.5f;

  std::int64_t n_tokens() const { return std::ssize(x) / width; }
};

struct RouteResult {
  std::vector<std::int32_t> experts;
  std::vector<float> weights;
};

RouteResult run(Backend& backend, const RouteCase& c, std::int64_t chunk) {
  const std::int64_t n = c.n_tokens();
  RouteResult out{std::vector<std::int32_t>(n * c.n_active), std::vector<float>(n * c.n_active)};
  const std::unique_ptr<Weight> gate = backend.load_weight(c.gate.source());
  for_each_chunk(n, chunk, [&](std::int64_t begin, std::int64_t count) {
    RouteArgs args;
    args.x = mat(c.x, n, c.width).slice_rows(begin, count);
    args.gate = gate.get();
    args.bias = c.bias;
    if (!c.tid2eid.empty()) {
      args.tid2eid = mat(c.tid2eid, std::ssize(c.tid2eid) / c.n_active, c.n_active);
      args.ids = std::span(c.ids).subspan(begin, count);
    }
    args.route_scale = c.route_scale;
    args.expert_idx = mat(out.experts, n, c.n_active).slice_rows(begin, count);
    args.weight = mat(out.weights, n, c.n_active).slice_rows(begin, count);
    backend.route(args);
  });
  return out;
}

void expect_close(const RouteResult& got, const RouteResult& want, const std::string& what) {
  expect_same_bits(got.experts, want.experts, what);
  // softplus, root, sum and two products, each good to 2 units in the last place; the logit's own
  // error is scaled by its size.
  expect_within(
      got.weights, want.weights, [&](std::size_t i) { return want.weights[i] * 64 * 0x1p-24; },
      what);
}

TEST_P(Route, IntegerLogitsChooseTheSameExperts) {
  for (const auto& [n_experts, n_active] : {std::pair{16, 2}, {256, 6}, {4, 4}, {33, 1}, {1, 1}}) {
    for (const std::int64_t width : {64, 17, 256}) {
      for (const std::int64_t n : kTokenCounts) {
        RouteCase c{n_experts, n_active, width};
        c.x = small_ints(n * width, 1);
        for (float& value : c.x) value /= 16;  // logits of a few units, where scores differ
        c.gate = make_weight(WeightFormat::kBf16, n_experts, width, Fill::kIntegers, 2);
        c.bias = small_ints(n_experts, 3);
        const std::string what = "E " + std::to_string(n_experts) + ", D " + std::to_string(width);
        expect_close(run(*backend_, c, std::max<std::int64_t>(1, n)),
                     run(*ref_, c, std::max<std::int64_t>(1, n)), what);
        c.bias.clear();
        c.tid2eid = random_ints(50 * n_active, 4, n_experts);
        c.ids = random_ints(n, 5, 50);
        expect_close(run(*backend_, c, std::max<std::int64_t>(1, n)),
                     run(*ref_, c, std::max<std::int64_t>(1, n)), what + ", hash");
      }
    }
  }
}

TEST_P(Route, TokensDependOnThemselvesAlone) {
  RouteCase c{33, 6, 160};
  c.x = activations(33 * c.width, 1);
  c.gate = make_weight(WeightFormat::kBf16, 33, c.width, Fill::kRandom, 2);
  c.bias = uniform(33, 3, -1, 1);
  expect_invariant(GetParam(), 33, [&](Backend& backend, std::int64_t chunk) {
    return run(backend, c, chunk).weights;
  });
  expect_invariant(GetParam(), 33, [&](Backend& backend, std::int64_t chunk) {
    return run(backend, c, chunk).experts;
  });
}

TEST_P(Route, ExpertsAscendAndWeightsSumToTheScale) {
  RouteCase c{64, 6, 32};
  c.x = activations(17 * c.width, 1);
  c.gate = make_weight(WeightFormat::kBf16, 64, c.width, Fill::kRandom, 2);
  c.bias = uniform(64, 3, -1, 1);
  c.route_scale = 2.5f;
  const RouteResult got = run(*backend_, c, 17);
  for (std::int64_t t = 0; t < 17; ++t) {
    double sum = 0;
    for (int a = 0; a < 6; ++a) {
      sum += got.weights[t * 6 + a];
      if (a > 0) {
        EXPECT_LT(got.experts[t * 6 + a - 1], got.experts[t * 6 + a]);
      }
    }
    EXPECT_NEAR(sum, 2.5, 1e-5);
  }
}

TEST_P(Route, EqualScoresChooseTheLowestExperts) {
  RouteCase c{40, 5, 16};
  c.x.assign(3 * 16, 1.0f);
  c.gate = f32_weight(std::vector<float>(40 * 16, 0.25f), 40, 16);
  c.bias.assign(40, -3.0f);
  const RouteResult got = run(*backend_, c, 3);
  for (int i = 0; i < 15; ++i) EXPECT_EQ(got.experts[i], i % 5);
  for (int i = 0; i < 15; ++i) EXPECT_FLOAT_EQ(got.weights[i], 0.3f);
}

// Logits of -90 … 2000: log(1 + e^x) evaluated directly is 0 or infinite there.
TEST_P(Route, ExtremeLogitsKeepFiniteWeights) {
  RouteCase c{2, 2, 1};
  c.gate = f32_weight({1, 0.5f}, 2, 1);
  c.bias = {0, 0};
  c.x = {-90, -60, -20, -16.7f, 0, 19, 20, 21, 88, 100, 2000};
  const RouteResult got = run(*backend_, c, c.n_tokens());
  const RouteResult want = run(*ref_, c, c.n_tokens());
  for (std::size_t i = 0; i < got.weights.size(); ++i) {
    EXPECT_TRUE(std::isfinite(got.weights[i])) << c.x[i / 2];
    // The root of e^-90 has a relative error of 90 · 2^-24 or so from the exponential's argument.
    EXPECT_NEAR(got.weights[i], want.weights[i], 1e-5) << c.x[i / 2];
  }
}

TEST_P(Route, NotANumberIsChosenLast) {
  RouteCase c{20, 3, 4};
  std::vector<float> gate(20 * 4, 1.0f);
  for (const int expert : {0, 1, 18}) gate[expert * 4] = std::numeric_limits<float>::quiet_NaN();
  c.gate = f32_weight(gate, 20, 4);
  c.bias.assign(20, 0.0f);
  c.x.assign(4, 1.0f);
  EXPECT_EQ(run(*backend_, c, 1).experts, (std::vector<std::int32_t>{2, 3, 4}));
}

// By hand: logits 0 and 3 with bias for the first, which selects it but does not weigh it.
TEST(RouteReference, BiasSelectsAndScoresWeigh) {
  const TestBackend ref({"ref", ""});
  RouteCase c{3, 2, 1};
  c.gate = f32_weight({0, 3, 2}, 3, 1);
  c.bias = {10, 0, 0};
  c.x = {1};
  c.route_scale = 2;
  const RouteResult got = run(*ref, c, 1);
  EXPECT_EQ(got.experts, (std::vector<std::int32_t>{0, 1}));
  const float first = std::sqrt(std::log(2.0f));
  const float second = std::sqrt(std::log1p(std::exp(3.0f)));
  EXPECT_FLOAT_EQ(got.weights[0], 2 * first / (first + second));
  EXPECT_FLOAT_EQ(got.weights[1], 2 * second / (first + second));
}

struct ExpertsCase {
  std::int64_t width = 128;
  std::int64_t hidden = 128;
  int n_active = 2;
  std::vector<std::array<TestWeight, 3>> experts = {};  // w1, w3, w2; the shared one last
  std::vector<float> x = {};
  std::vector<std::int32_t> expert_idx = {};
  std::vector<float> weight = {};
  float limit = 10;
  InputQuant input = InputQuant::kNone;
  Rounding rounding = Rounding::kNone;

  std::int64_t n_tokens() const { return std::ssize(x) / width; }
  int n_routed() const { return static_cast<int>(experts.size()) - 1; }
};

std::vector<float> run(Backend& backend, const ExpertsCase& c, std::int64_t chunk) {
  std::vector<std::unique_ptr<Weight>> loaded;
  std::vector<ExpertWeights> experts;
  for (const auto& parts : c.experts) {
    for (const TestWeight& part : parts) loaded.push_back(backend.load_weight(part.source()));
    const auto* last = &loaded.back();
    experts.push_back({(last - 2)->get(), (last - 1)->get(), last->get()});
  }
  const std::int64_t n = c.n_tokens();
  std::vector<float> out(c.x.size());
  for_each_chunk(n, chunk, [&](std::int64_t begin, std::int64_t count) {
    backend.experts({mat(c.x, n, c.width).slice_rows(begin, count),
                     mat(c.expert_idx, n, c.n_active).slice_rows(begin, count),
                     mat(c.weight, n, c.n_active).slice_rows(begin, count),
                     std::span<const ExpertWeights>(experts).first(c.n_routed()), experts.back(),
                     c.limit, c.input, c.input, mat(out, n, c.width).slice_rows(begin, count),
                     c.rounding});
  });
  return out;
}

void add_routing(ExpertsCase& c, std::int64_t n_tokens) {
  for (std::int64_t t = 0; t < n_tokens; ++t) {
    std::vector<std::int32_t> chosen = random_ints(c.n_active, 40 + t, c.n_routed());
    std::ranges::sort(chosen);
    c.expert_idx.insert(c.expert_idx.end(), chosen.begin(), chosen.end());
  }
}

ExpertsCase random_case(std::int64_t width, std::int64_t hidden, int n_routed, int n_active,
                        std::int64_t n_tokens) {
  ExpertsCase c{width, hidden, n_active};
  for (int e = 0; e <= n_routed; ++e) {
    const WeightFormat format = e == n_routed ? WeightFormat::kFp8Block : WeightFormat::kFp4Group;
    c.experts.push_back({make_weight(format, hidden, width, Fill::kRandom, 10 * e + 1),
                         make_weight(format, hidden, width, Fill::kRandom, 10 * e + 2),
                         make_weight(format, width, hidden, Fill::kRandom, 10 * e + 3)});
  }
  c.x = activations(n_tokens * width, 5, 0.01f);
  add_routing(c, n_tokens);
  c.weight = uniform(n_tokens * n_active, 6, 0, 1.5f);
  return c;
}

// Gate values above 20 are their own silu in f32, so all is integer arithmetic below 2^24:
// gate <= 512, up <= 256, hence w2 sums of 128 such products below 2^24.
TEST_P(Experts, IntegersAreExact) {
  for (const InputQuant input : {InputQuant::kNone, InputQuant::kFp8Group128}) {
    for (const Rounding rounding : {Rounding::kNone, Rounding::kBf16}) {
      for (const std::int64_t n : kTokenCounts) {
        ExpertsCase c{128, 128, 2};
        for (int e = 0; e < 4; ++e) {
          std::vector<float> gate = small_ints(128 * 128, 10 * e + 1, 2);
          for (float& value : gate) value = std::abs(value);
          c.experts.push_back({f32_weight(gate, 128, 128),
                               f32_weight(small_ints(128 * 128, 10 * e + 2, 1), 128, 128),
                               f32_weight(small_ints(128 * 128, 10 * e + 3, 1), 128, 128)});
        }
        c.x = small_ints(n * 128, 5, 2);
        for (float& value : c.x) value = std::abs(value);
        add_routing(c, n);
        for (std::int64_t i = 0; i < 2 * n; ++i) c.weight.push_back(i % 3 == 0 ? 0.5f : 1.0f);
        c.limit = 1024;
        c.input = input;
        c.rounding = rounding;
        expect_same_bits(run(*backend_, c, std::max<std::int64_t>(1, n)),
                         run(*ref_, c, std::max<std::int64_t>(1, n)),
                         "tokens " + std::to_string(n));
      }
    }
  }
}

TEST_P(Experts, RandomDataStaysWithinItsRounding) {
  for (const auto& [width, hidden] : {std::pair{256, 128}, {128, 256}, {128, 128}}) {
    ExpertsCase c = random_case(width, hidden, 5, 2, 17);
    // Three products in a row, each off by the rounding of a chain of its length.
    const double chain = 6 * 0x1p-24 * std::sqrt(2.0 * width + hidden);
    const std::string what = std::to_string(width) + " x " + std::to_string(hidden);
    expect_norm_within(run(*backend_, c, 17), run(*ref_, c, 17), chain, what);
    c.input = InputQuant::kFp8Group128;
    c.rounding = Rounding::kBf16;
    // A rounding boundary crossed in the hidden layer moves one code by up to 1/16.
    expect_norm_within(run(*backend_, c, 17), run(*ref_, c, 17), 0x1p-8, what + ", released");
  }
}

TEST_P(Experts, TokensDependOnThemselvesAlone) {
  ExpertsCase c = random_case(256, 128, 5, 2, 33);
  c.input = InputQuant::kFp8Group128;
  for (const Rounding rounding : {Rounding::kNone, Rounding::kBf16}) {
    c.rounding = rounding;
    expect_invariant(GetParam(), 33,
                     [&](Backend& backend, std::int64_t chunk) { return run(backend, c, chunk); });
  }
}

TEST_P(Experts, AllTokensOnOneExpertAndUnusedExpertsAreFine) {
  ExpertsCase c = random_case(128, 128, 5, 1, 33);
  c.expert_idx.assign(33, 3);
  expect_norm_within(run(*backend_, c, 33), run(*ref_, c, 33), 6 * 0x1p-24 * 20, "one expert");
}

TEST_P(Experts, NotANumberStaysInItsToken) {
  ExpertsCase c = random_case(128, 128, 5, 2, 17);
  const std::vector<float> clean = run(*backend_, c, 17);
  c.x[4 * 128 + 9] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> got = run(*backend_, c, 17);
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (i / 128 == 4) {
      ASSERT_TRUE(std::isnan(got[i])) << i;
    } else {
      ASSERT_EQ(got[i], clean[i]) << i;
    }
  }
}

// One channel each way, by hand: the gate is clamped from above only, the up value both ways, the
// shared expert too.
TEST_P(Experts, ClampsTheGateFromAboveAndTheUpValueBothWays) {
  const auto expert = [](float w1, float w3, float w2) {
    return std::array{f32_weight({w1}, 1, 1), f32_weight({w3}, 1, 1), f32_weight({w2}, 1, 1)};
  };
  const auto silu = [](double x) { return x / (1 + std::exp(-x)); };
  ExpertsCase c{1, 1, 1};
  c.experts = {expert(100, -50, 2), expert(-30, 3, 1), expert(200, 70, 1)};
  c.x = {1, 1};
  c.expert_idx = {0, 1};
  c.weight = {0.5f, 4};
  c.limit = 10;
  const std::vector<float> got = run(*backend_, c, 2);
  const double shared = silu(10) * 10;
  EXPECT_NEAR(got[0], 2 * 0.5 * silu(10) * -10 + shared, 1e-3);
  EXPECT_NEAR(got[1], 4 * silu(-30) * 3 + shared, 1e-4);
}

}  // namespace
}  // namespace precis
