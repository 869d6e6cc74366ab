#include "ops/hyper.h"

#include <cmath>
#include <limits>

#include "ops/op_test_util.h"

namespace precis {
namespace {

PRECIS_OP_SUITE(HyperPre);
PRECIS_OP_SUITE(HyperPost);
PRECIS_OP_SUITE(HyperHead);

constexpr HyperParams kReleased{1e-6f, 1e-6f, 20};

struct HyperCase {
  int n_streams = 4;
  std::int64_t width = 64;
  TestWeight fn = {};
  std::vector<float> base = {};
  std::vector<float> scale = {};
  std::vector<float> streams = {};  // [T, M, D]
  HyperParams params = kReleased;
  Rounding rounding = Rounding::kNone;

  std::int64_t n_mix() const { return n_streams * (2 + n_streams); }
  std::int64_t n_tokens() const { return std::ssize(streams) / (n_streams * width); }
};

// Mixing values of about ±2, as trained models have them.
HyperCase random_case(int n_streams, std::int64_t width, std::int64_t n_tokens, std::int64_t n_mix,
                      std::int64_t n_scales) {
  HyperCase c{n_streams, width};
  const std::int64_t n_in = n_streams * width;
  const auto spread = static_cast<float>(2 / std::sqrt(static_cast<double>(n_in)));
  c.fn = f32_weight(uniform(n_mix * n_in, 1, -spread, spread), n_mix, n_in);
  c.base = uniform(n_mix, 2, -2, 2);
  c.scale = uniform(n_scales, 3, 0.5f, 2);
  c.streams = activations(n_tokens * n_in, 4);
  return c;
}

HyperCase random_pre_case(int n_streams, std::int64_t width, std::int64_t n_tokens) {
  return random_case(n_streams, width, n_tokens, n_streams * (2 + n_streams), 3);
}

struct PreResult {
  std::vector<float> x;
  std::vector<float> post;
  std::vector<float> comb;
};

PreResult run_pre(Backend& backend, const HyperCase& c, std::int64_t chunk) {
  const std::int64_t n = c.n_tokens();
  const std::int64_t m = c.n_streams;
  PreResult out{std::vector<float>(n * c.width), std::vector<float>(n * m),
                std::vector<float>(n * m * m)};
  const std::unique_ptr<Weight> fn = backend.load_weight(c.fn.source());
  for_each_chunk(n, chunk, [&](std::int64_t begin, std::int64_t count) {
    backend.hyper_pre({Cube<const float>(c.streams.data(), n, m, c.width).slice(begin, count),
                       {fn.get(), c.base, c.scale},
                       c.params,
                       mat(out.x, n, c.width).slice_rows(begin, count),
                       mat(out.post, n, m).slice_rows(begin, count),
                       mat(out.comb, n, m * m).slice_rows(begin, count),
                       c.rounding});
  });
  return out;
}

// Saturated gates (base ±400, no eps) make every mixing value 0, 1 or 2: the answer is which
// stream goes where, and exact.
TEST_P(HyperPre, SaturatedGatesPickStreamsExactly) {
  for (const int m : {1, 2, 4}) {
    for (const std::int64_t width : {1, 15, 64, 257}) {
      for (const std::int64_t n : kTokenCounts) {
        HyperCase c{m, width};
        c.fn = f32_weight(std::vector<float>(c.n_mix() * m * width), c.n_mix(), m * width);
        c.base.assign(c.n_mix(), -400.0f);
        c.scale = {1, 1, 1};
        c.streams = small_ints(n * m * width, 5);
        c.params = {1e-6f, 0, 20};
        c.base[m - 1] = 400;  // pre of the last stream
        c.base[m] = 400;      // post of the first
        for (int i = 0; i < m; ++i) c.base[2 * m + i * m + (i + 1) % m] = 400;  // i feeds i + 1
        const PreResult got = run_pre(*backend_, c, n);
        for (std::int64_t t = 0; t < n; ++t) {
          for (std::int64_t d = 0; d < width; ++d) {
            ASSERT_EQ(got.x[t * width + d], c.streams[(t * m + m - 1) * width + d]);
          }
          for (int j = 0; j < m; ++j) ASSERT_EQ(got.post[t * m + j], j == 0 ? 2.0f : 0.0f);
          for (int i = 0; i < m * m; ++i) {
            ASSERT_EQ(got.comb[t * m * m + i], i % m == (i / m + 1) % m ? 1.0f : 0.0f) << i;
          }
        }
      }
    }
  }
}

TEST_P(HyperPre, RandomDataStaysWithinItsRounding) {
  for (const auto& [m, width] : {std::pair{4, 256}, {4, 160}, {4, 33}, {2, 64}, {3, 50}, {1, 32}}) {
    HyperCase c = random_pre_case(m, width, 17);
    const PreResult want = run_pre(*ref_, c, 17);
    const PreResult got = run_pre(*backend_, c, 17);
    // A mixing value is a chain times an inverse root mean square; sigmoid and exp pass its error
    // on at most doubled (scale < 2), and 40 normalisations of M values add theirs.
    const std::vector<float> fn = c.fn.decoded();
    double mix_error = 0;
    const std::int64_t n_in = m * width;
    for (std::int64_t i = 0; i < c.n_mix(); ++i) {
      const std::span<const float> streams = std::span(c.streams).first(n_in);
      mix_error =
          std::max(mix_error, chain_tolerance(streams, std::span(fn).subspan(i * n_in, n_in)));
    }
    mix_error = 2 * (mix_error + 4 * norm_tolerance(n_in));
    const double relative = 2 * mix_error + 6 * 0x1p-24 * std::sqrt(40.0 * (m + 1)) + 8 * 0x1p-24;
    const std::string what = "M " + std::to_string(m) + ", D " + std::to_string(width);
    expect_within(
        got.post, want.post, [&](std::size_t i) { return relative * want.post[i]; }, what);
    expect_within(
        got.comb, want.comb, [&](std::size_t i) { return relative * want.comb[i]; }, what);
    expect_within(
        got.x, want.x, [&, n_streams = m](std::size_t) { return relative * 2 * n_streams; }, what);
    c.rounding = Rounding::kBf16;
    expect_few_differ(run_pre(*backend_, c, 17).x, run_pre(*ref_, c, 17).x, 0.01, what);
  }
}

TEST_P(HyperPre, TokensDependOnThemselvesAlone) {
  for (const auto& [m, width] : {std::pair{4, 160}, {2, 33}}) {
    const HyperCase c = random_pre_case(m, width, 33);
    expect_invariant(GetParam(), 33, [&](Backend& backend, std::int64_t chunk) {
      PreResult out = run_pre(backend, c, chunk);
      out.x.insert(out.x.end(), out.post.begin(), out.post.end());
      out.x.insert(out.x.end(), out.comb.begin(), out.comb.end());
      return out.x;
    });
  }
}

TEST_P(HyperPre, ColumnsSumToOne) {
  const HyperCase c = random_pre_case(4, 64, 33);
  const PreResult got = run_pre(*backend_, c, 33);
  for (std::int64_t t = 0; t < 33; ++t) {
    for (int j = 0; j < 4; ++j) {
      double sum = 0;
      for (int i = 0; i < 4; ++i) sum += got.comb[t * 16 + i * 4 + j];
      EXPECT_NEAR(sum, 1, 2e-6);
    }
  }
}

TEST_P(HyperPre, EqualMixingValuesSpreadEvenlyAndZeroStreamsStayFinite) {
  HyperCase c = random_pre_case(4, 32, 3);
  c.base.assign(c.n_mix(), 0.0f);
  c.streams.assign(c.streams.size(), 0.0f);
  const PreResult got = run_pre(*backend_, c, 3);
  for (const float value : got.x) EXPECT_EQ(value, 0.0f);
  for (const float value : got.post) EXPECT_FLOAT_EQ(value, 1.0f);
  for (const float value : got.comb) EXPECT_NEAR(value, 0.25f, 1e-6);
}

TEST_P(HyperPre, NotANumberStaysInItsToken) {
  HyperCase c = random_pre_case(4, 32, 17);
  const PreResult clean = run_pre(*backend_, c, 17);
  c.streams[5 * 128 + 7] = std::numeric_limits<float>::quiet_NaN();
  const PreResult got = run_pre(*backend_, c, 17);
  for (std::int64_t t = 0; t < 17; ++t) {
    for (int i = 0; i < 16; ++i) {
      if (t == 5) {
        EXPECT_TRUE(std::isnan(got.comb[t * 16 + i]));
      } else {
        EXPECT_EQ(got.comb[t * 16 + i], clean.comb[t * 16 + i]);
      }
    }
  }
}

std::vector<float> run_post(Backend& backend, const std::vector<float>& f, const HyperCase& c,
                            const std::vector<float>& post, const std::vector<float>& comb,
                            std::int64_t chunk) {
  const std::int64_t n = c.n_tokens();
  const std::int64_t m = c.n_streams;
  std::vector<float> out = c.streams;  // in place, as the model calls it
  for_each_chunk(n, chunk, [&](std::int64_t begin, std::int64_t count) {
    const Cube<float> streams = Cube<float>(out.data(), n, m, c.width).slice(begin, count);
    backend.hyper_post({mat(f, n, c.width).slice_rows(begin, count), streams,
                        mat(post, n, m).slice_rows(begin, count),
                        mat(comb, n, m * m).slice_rows(begin, count), streams, c.rounding});
  });
  return out;
}

TEST_P(HyperPost, IntegersAreExactAndTheFirstIndexIsTheSource) {
  for (const Rounding rounding : {Rounding::kNone, Rounding::kBf16}) {
    for (const int m : {1, 2, 3, 4}) {
      for (const std::int64_t width : {1, 17, 160, 256}) {
        for (const std::int64_t n : kTokenCounts) {
          HyperCase c{m, width};
          c.streams = small_ints(n * m * width, 1);
          c.rounding = rounding;
          const std::vector<float> f = small_ints(n * width, 2);
          const std::vector<float> post = small_ints(n * m, 3);
          const std::vector<float> comb = small_ints(n * m * m, 4);
          std::vector<float> want(c.streams.size());
          for (std::size_t i = 0; i < want.size(); ++i) {
            const std::int64_t d = i % width;
            const std::int64_t j = i / width % m;
            const std::int64_t t = i / width / m;
            want[i] = post[t * m + j] * f[t * width + d];
            for (int source = 0; source < m; ++source) {
              want[i] += comb[(t * m + source) * m + j] * c.streams[(t * m + source) * width + d];
            }
          }
          expect_same_bits(run_post(*backend_, f, c, post, comb, n), want,
                           "M " + std::to_string(m) + ", D " + std::to_string(width));
        }
      }
    }
  }
}

TEST_P(HyperPost, RandomDataStaysWithinItsRoundingAndTokensAreIndependent) {
  const int m = 4;
  const std::int64_t n = 33;
  for (const std::int64_t width : {33, 256}) {
    HyperCase c{m, width};
    c.streams = activations(n * m * width, 1);
    const std::vector<float> f = activations(n * width, 2);
    const std::vector<float> post = uniform(n * m, 3, 0, 2);
    const std::vector<float> comb = uniform(n * m * m, 4, 0, 1);
    // Five terms of at most 4 (post · f) and 2 (comb · stream).
    expect_within(
        run_post(*backend_, f, c, post, comb, n), run_post(*ref_, f, c, post, comb, n),
        [](std::size_t) { return 5 * 12 * 0x1p-24; }, "D " + std::to_string(width));
    expect_invariant(GetParam(), n, [&](Backend& backend, std::int64_t chunk) {
      return run_post(backend, f, c, post, comb, chunk);
    });
  }
}

std::vector<float> run_head(Backend& backend, const HyperCase& c, std::int64_t chunk) {
  const std::int64_t n = c.n_tokens();
  std::vector<float> x(n * c.width);
  const std::unique_ptr<Weight> fn = backend.load_weight(c.fn.source());
  for_each_chunk(n, chunk, [&](std::int64_t begin, std::int64_t count) {
    backend.hyper_head(
        {Cube<const float>(c.streams.data(), n, c.n_streams, c.width).slice(begin, count),
         {fn.get(), c.base, c.scale},
         c.params,
         mat(x, n, c.width).slice_rows(begin, count),
         c.rounding});
  });
  return x;
}

TEST_P(HyperHead, SaturatedGatesPickStreamsExactly) {
  for (const int m : {1, 2, 4}) {
    for (const std::int64_t n : kTokenCounts) {
      HyperCase c{m, 65};
      c.fn = f32_weight(std::vector<float>(m * m * c.width), m, m * c.width);
      c.base.assign(m, 400.0f);
      c.base[0] = m == 1 ? 400.0f : -400.0f;
      c.scale = {1};
      c.streams = small_ints(n * m * c.width, 5);
      c.params = {1e-6f, 0, 20};
      const std::vector<float> got = run_head(*backend_, c, n);
      for (std::int64_t i = 0; i < n * c.width; ++i) {
        float want = 0;
        for (int stream = m == 1 ? 0 : 1; stream < m; ++stream) {
          want += c.streams[(i / c.width * m + stream) * c.width + i % c.width];
        }
        ASSERT_EQ(got[i], want);
      }
    }
  }
}

TEST_P(HyperHead, RandomDataAgreesAndTokensAreIndependent) {
  for (const auto& [m, width] : {std::pair{4, 256}, {2, 33}}) {
    const HyperCase c = random_case(m, width, 33, m, 1);
    expect_within(
        run_head(*backend_, c, 33), run_head(*ref_, c, 33),
        [&, streams = m](std::size_t) { return streams * 2 * 64 * 0x1p-24; }, "hyper_head");
    expect_invariant(GetParam(), 33, [&](Backend& backend, std::int64_t chunk) {
      return run_head(backend, c, chunk);
    });
  }
}

// One stream pair, one sinkhorn half-step, computed by hand.
TEST(HyperReference, FirstHalfStepIsRowSoftmaxThenColumns) {
  const TestBackend ref({"ref", ""});
  HyperCase c{2, 1};
  c.fn = f32_weight(std::vector<float>(8 * 2), 8, 2);
  const float log3 = std::log(3.0f);
  c.base = {0, log3, 0, -log3, log3, 0, 0, 0};  // pre | post | comb rows (log 3, 0), (0, 0)
  c.scale = {1, 1, 1};
  c.streams = {8, 4};
  c.params = {1e-6f, 0, 1};
  const PreResult got = run_pre(*ref, c, 1);
  EXPECT_FLOAT_EQ(got.x[0], 0.5f * 8 + 0.75f * 4);
  EXPECT_FLOAT_EQ(got.post[0], 1.0f);
  EXPECT_FLOAT_EQ(got.post[1], 0.5f);
  EXPECT_FLOAT_EQ(got.comb[0], 0.75f / 1.25f);  // rows (3/4, 1/4), (1/2, 1/2)
  EXPECT_FLOAT_EQ(got.comb[1], 0.25f / 0.75f);
  EXPECT_FLOAT_EQ(got.comb[2], 0.5f / 1.25f);
  EXPECT_FLOAT_EQ(got.comb[3], 0.5f / 0.75f);
}

}  // namespace
}  // namespace precis
