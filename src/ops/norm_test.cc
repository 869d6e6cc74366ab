#include "ops/norm.h"

#include <cmath>
#include <limits>

#include "ops/op_test_util.h"

namespace precis {
namespace {

PRECIS_OP_SUITE(RmsNorm);
PRECIS_OP_SUITE(AddToStreams);

std::vector<float> norm(Backend& backend, const std::vector<float>& x,
                        const std::vector<float>& weight, float eps, Rounding rounding,
                        std::int64_t chunk) {
  const std::int64_t width = std::ssize(weight);
  const std::int64_t n = std::ssize(x) / width;
  std::vector<float> out(x.size());
  for_each_chunk(n, chunk, [&](std::int64_t begin, std::int64_t count) {
    backend.rms_norm({mat(x, n, width).slice_rows(begin, count), weight,
                      mat(out, n, width).slice_rows(begin, count), eps, rounding});
  });
  return out;
}

// All magnitudes are 2, so the root mean square is exact.
TEST_P(RmsNorm, IntegersAreExact) {
  for (const std::int64_t width : {1, 15, 16, 17, 128, 160, 257}) {
    const std::vector<float> weight = small_ints(width, 2);
    for (const std::int64_t n : kTokenCounts) {
      std::vector<float> x = small_ints(n * width, 1, 1);
      std::vector<float> want(x.size());
      for (std::size_t i = 0; i < x.size(); ++i) {
        want[i] = x[i] * weight[i % width];
        x[i] *= 2;
      }
      expect_same_bits(norm(*backend_, x, weight, 0, Rounding::kBf16, n), want,
                       "width " + std::to_string(width));
    }
  }
}

TEST_P(RmsNorm, RandomDataStaysWithinItsRounding) {
  for (const std::int64_t width : {1, 64, 160, 256, 1023, 4096}) {
    const std::vector<float> x = activations(17 * width, 1);
    const std::vector<float> weight = activations(width, 2);
    const std::vector<float> want = norm(*ref_, x, weight, 1e-6f, Rounding::kNone, 17);
    expect_within(
        norm(*backend_, x, weight, 1e-6f, Rounding::kNone, 17), want,
        [&](std::size_t i) { return std::abs(want[i]) * norm_tolerance(width); },
        "width " + std::to_string(width));
    expect_few_differ(norm(*backend_, x, weight, 1e-6f, Rounding::kBf16, 17),
                      norm(*ref_, x, weight, 1e-6f, Rounding::kBf16, 17), 0.01,
                      "width " + std::to_string(width));
  }
}

TEST_P(RmsNorm, RowsDependOnTheirTokenAlone) {
  const std::vector<float> x = activations(33 * 160, 1);
  const std::vector<float> weight = activations(160, 2);
  expect_invariant(GetParam(), 33, [&](Backend& backend, std::int64_t chunk) {
    return norm(backend, x, weight, 1e-6f, Rounding::kNone, chunk);
  });
}

TEST_P(RmsNorm, WorksInPlaceAndBetweenStrides) {
  std::vector<float> x = activations(3 * 40, 1);
  const std::vector<float> weight = activations(37, 2);
  std::vector<float> out(3 * 50, -77.0f);
  backend_->rms_norm({{x.data(), 3, 37, 40}, weight, {out.data(), 3, 37, 50}, 1e-6f});
  backend_->rms_norm({{x.data(), 3, 37, 40}, weight, {x.data(), 3, 37, 40}, 1e-6f});
  for (int t = 0; t < 3; ++t) {
    for (int i = 0; i < 37; ++i) EXPECT_EQ(x[t * 40 + i], out[t * 50 + i]);
    for (int i = 37; i < 50; ++i) EXPECT_EQ(out[t * 50 + i], -77.0f);
  }
}

TEST_P(RmsNorm, ZeroRowsGiveZerosAndNotANumberStaysInItsRow) {
  std::vector<float> x(3 * 32, 0.0f);
  x[32] = std::numeric_limits<float>::quiet_NaN();
  x[64] = 5;
  const std::vector<float> weight(32, 1.0f);
  const std::vector<float> got = norm(*backend_, x, weight, 1e-6f, Rounding::kNone, 3);
  for (int i = 0; i < 32; ++i) {
    EXPECT_EQ(got[i], 0.0f);
    EXPECT_TRUE(std::isnan(got[32 + i]));
    EXPECT_TRUE(std::isfinite(got[64 + i]));
  }
}

TEST(RmsNormReference, DividesByTheRootMeanSquare) {
  const TestBackend ref({"ref", ""});
  const std::vector<float> got =
      norm(*ref, {3, 4}, {1, 10}, 0.0f, Rounding::kNone, 1);  // mean square 12.5
  EXPECT_FLOAT_EQ(got[0], 3 / std::sqrt(12.5f));
  EXPECT_FLOAT_EQ(got[1], 40 / std::sqrt(12.5f));
}

TEST_P(AddToStreams, AddsToEveryStream) {
  for (const Rounding rounding : {Rounding::kNone, Rounding::kBf16}) {
    for (const std::int64_t width : {1, 17, 160, 256}) {
      for (const std::int64_t n : kTokenCounts) {
        const std::vector<float> x = activations(n * width, 1);
        std::vector<float> got = activations(n * 4 * width, 2);
        std::vector<float> want = got;
        backend_->add_to_streams({mat(x, n, width), {got.data(), n, 4, width}, rounding});
        ref_->add_to_streams({mat(x, n, width), {want.data(), n, 4, width}, rounding});
        expect_same_bits(got, want, "width " + std::to_string(width));
        if (rounding == Rounding::kBf16 || n == 0) continue;
        const std::vector<float> before = activations(n * 4 * width, 2);
        const std::size_t last = got.size() - 1;
        EXPECT_EQ(got[last], before[last] + x.back());
      }
    }
  }
}

}  // namespace
}  // namespace precis
