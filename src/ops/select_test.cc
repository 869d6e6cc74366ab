#include "ops/select.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <numeric>

#include "base/rng.h"
#include "ops/op_test_util.h"
#include "tensor/rows.h"

namespace precis {
namespace {

PRECIS_OP_SUITE(Select);

struct SelectCase {
  int n_heads;
  int width;
  std::int64_t n_tokens;
  std::int64_t n_keys;
  int n_selected;
  std::vector<std::uint8_t> queries;  // [T·Hi] rows: codes, then scales
  std::vector<std::uint8_t> keys;     // [n_keys] rows
  std::vector<float> weights;         // [T, Hi]
  std::vector<std::int32_t> n_visible;
  float weight_scale = 1;
  Rounding rounding = Rounding::kNone;
  int key_page_rows = 64;

  IndexRowFormat format() const { return {width}; }
};

// Rows of random codes; exponents spread over `n_exponents` powers of two around 1.
std::vector<std::uint8_t> random_rows(std::int64_t n, const IndexRowFormat& format, int n_exponents,
                                      std::uint64_t seed) {
  std::vector<std::uint8_t> out(n * format.row_bytes());
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::uint64_t bits = random_bits(seed, i);
    const bool is_code = static_cast<int>(i % format.row_bytes()) < format.data_bytes();
    out[i] = is_code ? bits & 0xff : 127 - n_exponents / 2 + bits % n_exponents;
  }
  return out;
}

SelectCase make_case(int n_heads, int width, std::int64_t n_tokens, std::int64_t n_keys,
                     int n_selected, int n_exponents) {
  SelectCase c{n_heads, width, n_tokens, n_keys, n_selected, {}, {}, {}, {}};
  c.queries = random_rows(n_tokens * n_heads, c.format(), n_exponents, 1);
  c.keys = random_rows(n_keys, c.format(), n_exponents, 2);
  c.weights = n_exponents == 1 ? small_ints(n_tokens * n_heads, 3)
                               : uniform(n_tokens * n_heads, 3, -0.5f, 1);
  c.weight_scale = n_exponents == 1 ? 0.25f : 0.0441942f;
  // The last tokens of a step see the most rows.
  for (std::int64_t t = 0; t < n_tokens; ++t) {
    c.n_visible.push_back(
        static_cast<std::int32_t>(std::max<std::int64_t>(0, n_keys - (n_tokens - 1 - t))));
  }
  return c;
}

std::unique_ptr<TestPool> make_pool(const std::vector<std::uint8_t>& rows, std::int64_t begin,
                                    std::int64_t n, const IndexRowFormat& format,
                                    int rows_per_page) {
  auto pool = std::make_unique<TestPool>(n, rows_per_page, format);
  for (std::int64_t r = 0; r < n; ++r) {
    const std::uint8_t* row = rows.data() + (begin + r) * format.row_bytes();
    std::memcpy(pool->view().data(r), row, format.data_bytes());
    std::memcpy(pool->view().scales(r), row + format.data_bytes(), format.scale_bytes());
  }
  return pool;
}

std::vector<std::int32_t> run(Backend& backend, const SelectCase& c, std::int64_t chunk) {
  std::vector<std::int32_t> out(c.n_tokens * c.n_selected, -7);
  const auto keys = make_pool(c.keys, 0, c.n_keys, c.format(), c.key_page_rows);
  for_each_chunk(c.n_tokens, chunk, [&](std::int64_t begin, std::int64_t n) {
    const auto queries = make_pool(c.queries, begin * c.n_heads, n * c.n_heads, c.format(), 7);
    backend.select({queries->view(), mat(c.weights, c.n_tokens, c.n_heads).slice_rows(begin, n),
                    c.weight_scale, keys->view(), c.format(),
                    std::span(c.n_visible).subspan(begin, n),
                    mat(out, c.n_tokens, c.n_selected).slice_rows(begin, n), c.rounding});
  });
  return out;
}

// Scores of one token without the operation: [n_visible].
std::vector<double> scores_of(const SelectCase& c, std::int64_t t) {
  const auto keys = make_pool(c.keys, 0, c.n_keys, c.format(), 64);
  const auto queries = make_pool(c.queries, t * c.n_heads, c.n_heads, c.format(), 7);
  std::vector<double> out(c.n_visible[t]);
  for (std::size_t s = 0; s < out.size(); ++s) {
    const std::vector<float> key = read_index_row(keys->view(), s, c.format());
    for (int h = 0; h < c.n_heads; ++h) {
      const std::vector<float> query = read_index_row(queries->view(), h, c.format());
      const double product = std::inner_product(key.begin(), key.end(), query.begin(), 0.0);
      const float weight = c.weights[t * c.n_heads + h] * c.weight_scale;
      out[s] += weight * std::max(0.0, product);
    }
  }
  return out;
}

// With one exponent and integer weights every score is exact, and ties are common: the selection
// is compared row number by row number.
TEST_P(Select, ExactScoresGiveTheSameRowsInTheSameOrder) {
  for (const auto& [n_heads, width] : {std::pair{4, 64}, {64, 128}, {1, 32}, {3, 96 + 32}}) {
    for (const std::int64_t n_keys : {0, 1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 257}) {
      for (const std::int64_t n_tokens : kTokenCounts) {
        if (n_heads == 64 && (n_tokens > 17 || n_keys > 65)) continue;
        SelectCase c = make_case(n_heads, width, n_tokens, n_keys, 32, 1);
        c.rounding = n_tokens % 2 == 0 ? Rounding::kNone : Rounding::kBf16;
        expect_same_bits(run(*backend_, c, std::max<std::int64_t>(1, n_tokens)),
                         run(*ref_, c, std::max<std::int64_t>(1, n_tokens)),
                         "heads " + std::to_string(n_heads) + ", keys " + std::to_string(n_keys) +
                             ", tokens " + std::to_string(n_tokens));
      }
    }
  }
}

TEST_P(Select, RandomScoresAreSelectedByThreshold) {
  for (const auto& [n_heads, width] : {std::pair{4, 64}, {8, 128}}) {
    for (const int n_selected : {1, 32, 100}) {
      const SelectCase c = make_case(n_heads, width, 3, 1000, n_selected, 7);
      const std::vector<std::int32_t> got = run(*backend_, c, c.n_tokens);
      for (std::int64_t t = 0; t < c.n_tokens; ++t) {
        const std::vector<double> scores = scores_of(c, t);
        std::vector<double> sorted = scores;
        std::ranges::sort(sorted, std::greater());
        // Heads and groups add up in f32: at most this many partial sums of at most this size.
        const double largest = std::max(std::abs(sorted.front()), std::abs(sorted.back()));
        const double tolerance = 4 * largest * 0x1p-24 * std::sqrt(n_heads * width / 32.0) * 6;
        std::vector<std::int32_t> seen;
        for (int i = 0; i < n_selected; ++i) {
          const std::int32_t row = got[t * n_selected + i];
          ASSERT_GE(row, 0);
          ASSERT_LT(row, c.n_visible[t]);
          seen.push_back(row);
          EXPECT_NEAR(scores[row], sorted[i], tolerance) << "token " << t << ", place " << i;
        }
        std::ranges::sort(seen);
        EXPECT_EQ(std::ranges::adjacent_find(seen), seen.end()) << "a row is selected twice";
      }
    }
  }
}

TEST_P(Select, TokensDependOnThemselvesAlone) {
  for (const auto& [n_heads, width] : {std::pair{4, 64}, {64, 128}}) {
    for (const Rounding rounding : {Rounding::kNone, Rounding::kBf16}) {
      SelectCase c = make_case(n_heads, width, 33, n_heads == 64 ? 200 : 3000, 32, 7);
      c.rounding = rounding;
      expect_invariant(GetParam(), c.n_tokens, [&](Backend& backend, std::int64_t chunk) {
        return run(backend, c, chunk);
      });
    }
  }
}

TEST_P(Select, EqualScoresGiveTheFirstRows) {
  for (const bool is_zero : {false, true}) {
    SelectCase c = make_case(4, 64, 2, 500, 32, 1);
    for (std::size_t i = 0; i < c.keys.size(); ++i) c.keys[i] = c.keys[i % c.format().row_bytes()];
    if (is_zero) c.weights.assign(c.weights.size(), 0.0f);
    const std::vector<std::int32_t> got = run(*backend_, c, 2);
    for (std::size_t i = 0; i < got.size(); ++i) {
      EXPECT_EQ(got[i], static_cast<std::int32_t>(i % 32)) << "zero weights " << is_zero;
    }
  }
}

// relu(product) of opposite codes is 0 with either sign of the weight: -0 must tie with 0.
TEST_P(Select, SignedZerosTie) {
  SelectCase c = make_case(1, 32, 1, 64, 8, 1);
  std::fill(c.queries.begin(), c.queries.begin() + 16, 0x22);  // 1
  for (std::int64_t row = 0; row < 64; ++row) {
    const auto begin = c.keys.begin() + row * c.format().row_bytes();
    std::fill(begin, begin + 16, row % 2 == 0 ? 0xaa : 0x00);  // -1 or 0
  }
  c.weights = {-1};
  c.n_visible = {64};
  EXPECT_EQ(run(*backend_, c, 1), (std::vector<std::int32_t>{0, 1, 2, 3, 4, 5, 6, 7}));
}

TEST_P(Select, NotANumberComesLast) {
  SelectCase c = make_case(2, 64, 1, 40, 40, 1);
  c.n_visible = {40};
  for (const int row : {0, 17, 39}) c.keys[row * c.format().row_bytes() + 33] = 255;
  const std::vector<std::int32_t> got = run(*backend_, c, 1);
  EXPECT_EQ(std::vector<std::int32_t>(got.end() - 3, got.end()),
            (std::vector<std::int32_t>{0, 17, 39}));
  expect_same_bits(got, run(*ref_, c, 1), "NaN scales");
}

TEST_P(Select, ManyRowsAreSearchedExactly) {
  constexpr std::int64_t kKeys = 262'144;
  SelectCase c = make_case(1, 32, 1, kKeys, 512, 1);
  c.n_visible = {kKeys};
  expect_same_bits(run(*backend_, c, 1), run(*ref_, c, 1), "262,144 rows");
}

// A shape, page size and selection from `seed`.  Two powers of two in the scales and small integer
// weights, some of them 0 or negative, keep every score exact, and ties are common.
SelectCase random_case(std::uint64_t seed) {
  std::uint64_t i = 0;
  const auto pick = [&](std::initializer_list<int> choices) {
    return choices.begin()[random_bits(seed, i++) % choices.size()];
  };
  const int n_heads = pick({1, 2, 3, 4, 5, 8});
  const int width = pick({32, 64, 64, 128, 256});
  const int n_keys = pick({0, 4, 12, 16, 64, 124, 128, 132, 252, 384}) + pick({0, 1, 2, 3});
  const int n_tokens = n_keys > 70 ? pick({1, 2, 3, 4, 5, 9}) : pick({1, 4, 5, 33, 64, 70});
  SelectCase c = make_case(n_heads, width, n_tokens, n_keys, pick({1, 7, 32, 128, 400}), 2);
  c.queries = random_rows(n_tokens * n_heads, c.format(), 2, seed + 1);
  c.keys = random_rows(n_keys, c.format(), 2, seed + 2);
  c.weights = small_ints(n_tokens * n_heads, seed + 3);
  for (std::size_t w = 0; w < c.weights.size(); w += 5) c.weights[w] = 0;
  c.weight_scale = 0.25f;
  c.rounding = pick({0, 1}) == 0 ? Rounding::kNone : Rounding::kBf16;
  c.key_page_rows = pick({1, 5, 32, 64});
  for (std::int32_t& n : c.n_visible) {
    n = static_cast<std::int32_t>(random_bits(seed, i++) % (n_keys + 1));
  }
  return c;
}

TEST_P(Select, RandomShapesGiveTheRowsOfTheReference) {
  const TestBackend one_thread(GetParam(), 1);
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const SelectCase c = random_case(1000 * seed);
    const std::string what = "seed " + std::to_string(seed) + ": heads " +
                             std::to_string(c.n_heads) + ", width " + std::to_string(c.width) +
                             ", tokens " + std::to_string(c.n_tokens) + ", keys " +
                             std::to_string(c.n_keys) + ", K " + std::to_string(c.n_selected);
    const std::vector<std::int32_t> want = run(*ref_, c, c.n_tokens);
    expect_same_bits(run(*backend_, c, c.n_tokens), want, what);
    expect_same_bits(run(*one_thread, c, c.n_tokens), want, what + ", one thread");
  }
}

// Two threads search rows in any order: a row of a bf16 tie must win against later ones that were
// seen before it.
TEST_P(Select, RoundedTiesOfManyRowsGoToTheFirst) {
  constexpr std::int64_t kKeys = 40'000;
  SelectCase c = make_case(2, 64, 2, kKeys, 300, 2);
  c.weights = {3, 1, -1, 2};
  c.weight_scale = 0.25f;
  c.rounding = Rounding::kBf16;
  const std::vector<std::int32_t> want = run(*ref_, c, 2);
  for (int i = 0; i < 5; ++i) expect_same_bits(run(*backend_, c, 2), want, "40,000 rows");
}

// Scales whose product is an ordinary number although neither is, beside rows of ordinary scales.
TEST_P(Select, ExtremeScalesAreExact) {
  SelectCase c = make_case(5, 64, 3, 300, 40, 1);
  const IndexRowFormat format = c.format();
  const auto set_scales = [&](std::vector<std::uint8_t>& rows, std::size_t row, std::uint8_t byte) {
    const auto scales = rows.begin() + row * format.row_bytes() + format.data_bytes();
    std::fill(scales, scales + format.scale_bytes(), byte);
  };
  const auto compare = [&](std::uint8_t query_byte, const char* what) {
    for (int row = 0; row < 15; ++row) set_scales(c.queries, row, query_byte);
    expect_same_bits(run(*backend_, c, 3), run(*ref_, c, 3), what);
  };
  for (int row = 0; row < 300; ++row) set_scales(c.keys, row, row % 7 == 0 ? 30 : 29);
  compare(225, "products of extreme scales");
  set_scales(c.keys, 140, 0);
  compare(130, "the least scale");
  set_scales(c.keys, 140, 252);
  compare(104, "a scale whose products are almost infinite");
}

// Key s is s + 1 ones, so its score against a query of ones is s + 1; by hand.
TEST(SelectReference, OrdersByScoreAndFillsWithMinusOne) {
  const TestBackend ref({"ref", ""});
  SelectCase c{1, 32, 2, 3, 4, {}, {}, {2, -2}, {3, 2}};
  c.queries.assign(2 * 17, 0x22);
  c.keys.assign(3 * 17, 0x00);
  c.keys[0] = 0x02;
  c.keys[17] = 0x22;
  c.keys[34] = c.keys[35] = 0x22;
  c.queries[16] = c.queries[33] = c.keys[16] = c.keys[33] = c.keys[50] = 127;
  EXPECT_EQ(run(*ref, c, 2), (std::vector<std::int32_t>{2, 1, 0, -1, 0, 1, -1, -1}));
}

}  // namespace
}  // namespace precis
