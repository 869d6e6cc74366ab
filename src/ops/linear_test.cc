#include "ops/linear.h"

#include <cmath>
#include <limits>

#include "ops/op_test_util.h"
#include "tensor/quant.h"

namespace precis {
namespace {

PRECIS_OP_SUITE(Linear);

struct LinearCase {
  WeightFormat format;
  std::int64_t n_out;  // of all groups
  std::int64_t n_in;   // of one group
  int n_groups = 1;
  InputQuant input = InputQuant::kNone;
  Rounding rounding = Rounding::kNone;

  std::string text() const {
    return "format " + std::to_string(static_cast<int>(format)) + ", " + std::to_string(n_out) +
           " x " + std::to_string(n_in) + ", groups " + std::to_string(n_groups) + ", input " +
           std::to_string(static_cast<int>(input)) + ", rounding " +
           std::to_string(static_cast<int>(rounding));
  }
};

std::vector<float> run(Backend& backend, const LinearCase& c, const TestWeight& weight,
                       const std::vector<float>& x, std::int64_t chunk) {
  const std::unique_ptr<Weight> loaded = backend.load_weight(weight.source());
  const std::int64_t n_tokens = std::ssize(x) / (c.n_in * c.n_groups);
  std::vector<float> out(n_tokens * c.n_out);
  for_each_chunk(n_tokens, chunk, [&](std::int64_t begin, std::int64_t n) {
    const LinearTarget target{loaded.get(), mat(out, n_tokens, c.n_out).slice_rows(begin, n)};
    backend.linear({mat(x, n_tokens, c.n_in * c.n_groups).slice_rows(begin, n),
                    {&target, 1},
                    c.n_groups,
                    c.input,
                    c.rounding});
  });
  return out;
}

const LinearCase kShapes[] = {
    {WeightFormat::kFp8Block, 160, 256},    {WeightFormat::kFp8Block, 129, 128},
    {WeightFormat::kFp8Block, 64, 320},     {WeightFormat::kFp8Block, 17, 160},
    {WeightFormat::kFp8Block, 128, 320, 2}, {WeightFormat::kFp8Block, 12, 64, 3},
    {WeightFormat::kFp4Group, 128, 256},    {WeightFormat::kFp4Group, 33, 128},
    {WeightFormat::kFp4Group, 256, 96},     {WeightFormat::kBf16, 64, 256},
    {WeightFormat::kBf16, 31, 127},         {WeightFormat::kBf16, 1, 1},
    {WeightFormat::kBf16, 20, 40, 5},       {WeightFormat::kF32, 24, 1024},
    {WeightFormat::kF32, 15, 129},          {WeightFormat::kF32, 8, 512, 4},
};

// Grouped products take their input as it is.
std::vector<InputQuant> inputs_of(const LinearCase& c) {
  if (c.n_groups > 1) return {InputQuant::kNone};
  return {InputQuant::kNone, InputQuant::kFp8Group128};
}

// FP8 tensor cores keep some 13 bits behind the largest term (docs/numerics.md), so that more than a
// few sums round to the other bf16 number; what remains bounded is the error of all.
bool sums_in_fp8(const BackendCase& backend, const LinearCase& c) {
  return backend.name == "cuda" && c.format == WeightFormat::kFp8Block &&
         c.input == InputQuant::kFp8Group128;
}

TEST_P(Linear, IntegersAreExact) {
  std::uint64_t seed = 0;
  for (LinearCase c : kShapes) {
    for (const InputQuant input : inputs_of(c)) {
      for (const Rounding rounding : {Rounding::kNone, Rounding::kBf16}) {
        c.input = input;
        c.rounding = rounding;
        const TestWeight weight = make_weight(c.format, c.n_out, c.n_in, Fill::kIntegers, ++seed);
        for (const std::int64_t n_tokens : kTokenCounts) {
          const std::vector<float> x = small_ints(n_tokens * c.n_in * c.n_groups, ++seed);
          expect_same_bits(run(*backend_, c, weight, x, n_tokens),
                           run(*ref_, c, weight, x, n_tokens), c.text());
        }
      }
    }
  }
}

TEST_P(Linear, RandomDataStaysWithinTheRoundingOfItsChain) {
  std::uint64_t seed = 100;
  for (LinearCase c : kShapes) {
    for (const InputQuant input : inputs_of(c)) {
      c.input = input;
      const std::int64_t n_tokens = 17;
      const std::int64_t width = c.n_in * c.n_groups;
      const TestWeight weight = make_weight(c.format, c.n_out, c.n_in, Fill::kRandom, ++seed);
      std::vector<float> x = activations(n_tokens * width, ++seed);
      // Magnitudes change every 40 columns, so that a wrong quantisation group has a wrong scale.
      for (std::size_t i = 0; i < x.size(); ++i) x[i] *= std::ldexp(1.0f, i % width / 40 % 3 * 5);
      std::vector<float> seen = x;
      for (std::size_t i = 0; i < x.size() && input == InputQuant::kFp8Group128; i += c.n_in) {
        fake_quantize_row_e4m3(std::span(seen).subspan(i, c.n_in), kActivationGroup);
      }
      const std::vector<float> rows = weight.decoded();
      const auto bound = [&](std::size_t i) {
        const std::int64_t n = i % c.n_out;
        const std::int64_t group = n / (c.n_out / c.n_groups);
        return chain_tolerance(
            std::span(seen).subspan(i / c.n_out * width + group * c.n_in, c.n_in),
            std::span(rows).subspan(n * c.n_in, c.n_in));
      };
      const std::vector<float> want = run(*ref_, c, weight, x, n_tokens);
      expect_within(run(*backend_, c, weight, x, n_tokens), want, bound, c.text());
      c.rounding = Rounding::kBf16;
      const std::vector<float> rounded = run(*backend_, c, weight, x, n_tokens);
      const std::vector<float> want_rounded = run(*ref_, c, weight, x, n_tokens);
      if (sums_in_fp8(GetParam(), c)) {
        expect_norm_within(rounded, want_rounded, 0x1p-9, c.text());
      } else {
        expect_few_differ(rounded, want_rounded, 0.01, c.text());
      }
      c.rounding = Rounding::kNone;
    }
  }
}

TEST_P(Linear, RowsDependOnTheirTokenAlone) {
  std::uint64_t seed = 200;
  for (LinearCase c : kShapes) {
    c.input = inputs_of(c).back();
    const std::int64_t n_tokens = 33;
    const TestWeight weight = make_weight(c.format, c.n_out, c.n_in, Fill::kRandom, ++seed);
    const std::vector<float> x = activations(n_tokens * c.n_in * c.n_groups, ++seed);
    SCOPED_TRACE(c.text());
    expect_invariant(GetParam(), n_tokens, [&](Backend& backend, std::int64_t chunk) {
      return run(backend, c, weight, x, chunk);
    });
  }
}

TEST_P(Linear, TargetsShareTheInputAndKeepToTheirColumns) {
  const std::int64_t n_tokens = 5;
  const std::int64_t n_in = 128;
  const TestWeight first = make_weight(WeightFormat::kFp8Block, 48, n_in, Fill::kIntegers, 1);
  const TestWeight second = make_weight(WeightFormat::kFp8Block, 17, n_in, Fill::kIntegers, 2);
  const std::vector<float> x = small_ints(n_tokens * (n_in + 3), 3);
  const auto both = [&](Backend& backend) {
    const auto a = backend.load_weight(first.source());
    const auto b = backend.load_weight(second.source());
    constexpr std::int64_t kStride = 48 + 17 + 2;
    std::vector<float> out(n_tokens * kStride, -77.0f);
    const LinearTarget targets[] = {{a.get(), {out.data(), n_tokens, 48, kStride}},
                                    {b.get(), {out.data() + 49, n_tokens, 17, kStride}}};
    backend.linear({{x.data() + 1, n_tokens, n_in, n_in + 3},
                    targets,
                    1,
                    InputQuant::kFp8Group128,
                    Rounding::kBf16});
    return out;
  };
  const std::vector<float> got = both(*backend_);
  expect_same_bits(got, both(*ref_), "two targets");
  for (std::int64_t t = 0; t < n_tokens; ++t) {
    EXPECT_EQ(got[t * 67 + 48], -77.0f) << "written between the targets";
    EXPECT_EQ(got[t * 67 + 66], -77.0f) << "written behind the targets";
  }
}

TEST_P(Linear, NotANumberStaysInItsRow) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInf = std::numeric_limits<float>::infinity();
  for (LinearCase c : kShapes) {
    for (const InputQuant input : inputs_of(c)) {
      c.input = input;
      const std::int64_t n_tokens = 17;
      const std::int64_t width = c.n_in * c.n_groups;
      const TestWeight weight = make_weight(c.format, c.n_out, c.n_in, Fill::kIntegers, 1);
      std::vector<float> x = small_ints(n_tokens * width, 2);
      x[3 * width] = kNan;
      x[16 * width + width - 1] = kInf;
      expect_within(
          run(*backend_, c, weight, x, n_tokens), run(*ref_, c, weight, x, n_tokens),
          [](std::size_t) { return 0.0; }, c.text());
    }
  }
}

// The reference itself, by hand.
TEST(LinearReference, MultipliesCodesByTheirBlockScales) {
  TestWeight weight{WeightFormat::kFp4Group, 2, 64, {}, {}, 1, 32};
  weight.codes.assign(64, 0x42);         // pairs (1, 2)
  weight.scales = {127, 128, 126, 130};  // 1, 2; 0.5, 8
  const TestBackend ref({"ref", ""});
  const std::vector<float> x(64, 1.0f);
  EXPECT_EQ(run(*ref, {WeightFormat::kFp4Group, 2, 64}, weight, x, 1),
            (std::vector<float>{16 * 3 + 16 * 6, 16 * 1.5f + 16 * 24}));
}

TEST(LinearReference, GroupsReadTheirOwnColumns) {
  const TestWeight weight = f32_weight({1, 2, 3, 4, 5, 6, 7, 8}, 4, 2);
  const TestBackend ref({"ref", ""});
  const std::vector<float> x = {1, 10, 100, 1000};
  EXPECT_EQ(run(*ref, {WeightFormat::kF32, 4, 2, 2}, weight, x, 1),
            (std::vector<float>{21, 43, 6500, 8700}));
}

}  // namespace
}  // namespace precis
