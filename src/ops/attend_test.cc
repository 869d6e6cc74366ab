#include "ops/attend.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/rng.h"
#include "ops/op_test_util.h"
#include "tensor/rows.h"

namespace precis {
namespace {

PRECIS_OP_SUITE(Attend);

// A step with the rows that it sees, as values; pools are packed anew for each call.
struct AttendCase {
  int n_heads = 4;
  KvRowFormat format{128, 32};
  int window = 16;
  std::int64_t step_begin = 0;
  std::int64_t n_tokens = 1;
  std::int64_t n_compressed = 0;
  std::vector<float> q = {};           // [T, H, Dh]
  std::vector<float> window_kv = {};   // [step_begin + T, Dh], by position
  std::vector<float> compressed = {};  // [n_compressed, Dh]
  std::vector<std::int32_t> n_first = {};
  std::vector<std::int32_t> listed = {};  // [T, n_listed]
  std::int64_t n_listed = 0;
  std::vector<float> sink = {};
  TestRope rope = {};
  float scale = 0.05f;
  std::int64_t n_mass = 0;
  Rounding rounding = Rounding::kNone;

  int width() const { return format.width(); }
};

struct AttendResult {
  std::vector<float> out;   // [T, H, Dh]
  std::vector<float> mass;  // [T, n_mass]
};

AttendCase random_case(const KvRowFormat& format, int n_heads, int window, std::int64_t step_begin,
                       std::int64_t n_tokens) {
  AttendCase c{n_heads, format, window, step_begin, n_tokens};
  c.q = activations(n_tokens * n_heads * c.width(), 1);
  c.window_kv = activations((step_begin + n_tokens) * c.width(), 2);
  c.sink = uniform(n_heads, 3, -1, 1);
  c.rope = real_rope(n_tokens, format.rope, step_begin);
  return c;
}

void add_compressed(AttendCase& c, std::int64_t n) {
  c.n_compressed = n;
  c.compressed = activations(n * c.width(), 4);
}

// Each token lists rows in no order, with some -1 between them.
void add_listed(AttendCase& c, std::int64_t n_compressed, std::int64_t n_listed) {
  add_compressed(c, n_compressed);
  c.n_listed = n_listed;
  c.listed = random_ints(c.n_tokens * n_listed, 5, static_cast<int>(n_compressed + 2));
  for (std::int32_t& row : c.listed) row = row < n_compressed ? row : -1;
}

void add_first(AttendCase& c, std::int64_t n_compressed) {
  add_compressed(c, n_compressed);
  for (std::int64_t t = 0; t < c.n_tokens; ++t) {
    c.n_first.push_back(static_cast<std::int32_t>(
        std::max<std::int64_t>(0, n_compressed - (c.n_tokens - 1 - t) / 2)));
  }
}

std::unique_ptr<TestPool> window_pool(const AttendCase& c, std::int64_t begin, std::int64_t n) {
  const int window = std::max(1, c.window);
  auto pool = std::make_unique<TestPool>(window + n, window, c.format);
  const std::int64_t first = c.step_begin + begin;
  const WindowRows rows{pool->view(), window, first};
  const Mat<const float> kv = mat(c.window_kv, c.step_begin + c.n_tokens, c.width());
  for (std::int64_t p = std::max<std::int64_t>(0, first - window); p < first + n; ++p) {
    write_kv_row(pool->view(), rows.slot(p), c.format, kv.row_span(p));
  }
  return pool;
}

AttendResult run(Backend& backend, const AttendCase& c, std::int64_t chunk) {
  AttendResult out{std::vector<float>(c.q.size(), -7.0f),
                   std::vector<float>(c.n_tokens * c.n_mass, -7.0f)};
  const TestPool compressed(c.n_compressed, 32, c.format);
  for (std::int64_t r = 0; r < c.n_compressed; ++r) {
    write_kv_row(compressed.view(), r, c.format,
                 mat(c.compressed, c.n_compressed, c.width()).row_span(r));
  }
  for_each_chunk(c.n_tokens, chunk, [&](std::int64_t begin, std::int64_t n) {
    const auto pool = window_pool(c, begin, n);
    AttendArgs args;
    args.q = Cube<const float>(c.q.data(), c.n_tokens, c.n_heads, c.width()).slice(begin, n);
    args.format = c.format;
    args.window = {pool->view(), c.window, c.step_begin + begin};
    args.compressed = compressed.view();
    if (!c.n_first.empty()) args.selection.n_first = std::span(c.n_first).subspan(begin, n);
    if (c.n_listed > 0) {
      args.selection.listed = mat(c.listed, c.n_tokens, c.n_listed).slice_rows(begin, n);
    }
    args.sink = c.sink;
    args.scale = c.scale;
    args.rope = c.rope.slice(begin, n);
    args.out = Cube<float>(out.out.data(), c.n_tokens, c.n_heads, c.width()).slice(begin, n);
    if (c.n_mass > 0) args.mass = mat(out.mass, c.n_tokens, c.n_mass).slice_rows(begin, n);
    args.rounding = c.rounding;
    backend.attend(args);
  });
  return out;
}

struct Shape {
  KvRowFormat format;
  int n_heads;
};
const Shape kShapes[] = {
    {{128, 32}, 4}, {{448, 64}, 8}, {{64, 64}, 2}, {{96, 4}, 3}, {{64, 36, RopeStorage::kF32}, 1}};

// The planted row of a token and head: one of its window, or one that it lists.
std::span<const float> planted_row(const AttendCase& c, std::int64_t t, int h) {
  const std::uint64_t bits = random_bits(4, t * c.n_heads + h);
  const std::int32_t row = c.listed[t * c.n_listed + bits / 32 % c.n_listed];
  if (bits % 2 == 1 && row >= 0) {
    return std::span(c.compressed).subspan(row * c.width(), c.width());
  }
  const std::int64_t back = static_cast<std::int64_t>(bits / 2 % c.window);
  return std::span(c.window_kv).subspan((c.step_begin + t - back) * c.width(), c.width());
}

// Rows of ±1 score highest against themselves, by 2 a differing channel; times 64 that leads by
// more than 110, so every other weight is 0 and the output is the planted row bit for bit, its tail
// turned back by a multiple of 90°.
TEST_P(Attend, PlantedWinnerIsReturnedExactly) {
  for (const auto& [format, n_heads] : kShapes) {
    for (const std::int64_t n_tokens : kTokenCounts) {
      AttendCase c{n_heads, format, 16, 21, n_tokens};
      c.window_kv = small_ints((c.step_begin + n_tokens) * c.width(), 1, 1);
      add_listed(c, 40, 8);
      c.compressed = small_ints(40 * c.width(), 2, 1);
      c.rope = quarter_turns(n_tokens, format.rope, 3);
      c.scale = 1;
      std::vector<float> want;
      for (std::int64_t t = 0; t < n_tokens; ++t) {
        const RopeTable rope = c.rope.table();
        for (int h = 0; h < n_heads; ++h) {
          const std::span<const float> row = planted_row(c, t, h);
          for (const float value : row) c.q.push_back(64 * value);
          want.insert(want.end(), row.begin(), row.end());
          const std::span<float> tail = std::span(want).last(format.rope);
          for (int j = 0; j < format.rope / 2; ++j) {
            const float even = tail[2 * j];
            const float odd = tail[2 * j + 1];
            tail[2 * j] = even * rope.cos(t)[j] + odd * rope.sin(t)[j];
            tail[2 * j + 1] = odd * rope.cos(t)[j] - even * rope.sin(t)[j];
          }
        }
      }
      expect_same_bits(run(*backend_, c, std::max<std::int64_t>(1, n_tokens)).out, want,
                       "width " + std::to_string(c.width()));
    }
  }
}

// The error of a weight is that of its score: a chain over Dh times the scale; the weights pass it
// on to every channel in proportion to what they add.
void expect_close(const AttendCase& c, const AttendResult& got, const AttendResult& want,
                  const std::string& what) {
  constexpr float kLargest = 2;  // of values and queries
  const std::vector<float> largest(c.width(), kLargest);
  const double score_error =
      chain_tolerance(largest, largest) * c.scale / std::sqrt(static_cast<double>(c.width()));
  const double relative = 2 * score_error + 40 * 0x1p-24;
  expect_within(
      got.out, want.out, [&](std::size_t) { return relative * 2 * kLargest; }, what);
  expect_within(
      got.mass, want.mass, [&](std::size_t i) { return relative * (want.mass[i] + 1e-6); },
      what + ", mass");
}

TEST_P(Attend, RandomDataStaysWithinItsRounding) {
  for (const auto& [format, n_heads] : kShapes) {
    for (const auto& [window, step_begin] : {std::pair{16, 0}, {16, 40}, {128, 5}, {5, 3}}) {
      for (const std::int64_t n_tokens : {1, 17}) {
        for (const int kind : {0, 1, 2}) {
          AttendCase c = random_case(format, n_heads, window, step_begin, n_tokens);
          if (kind == 1) add_first(c, 37);
          if (kind == 2) add_listed(c, 60, 33);
          c.n_mass = kind == 0 ? 0 : 40;
          const std::string what = "width " + std::to_string(c.width()) + ", window " +
                                   std::to_string(window) + ", begin " +
                                   std::to_string(step_begin) + ", kind " + std::to_string(kind);
          expect_close(c, run(*backend_, c, n_tokens), run(*ref_, c, n_tokens), what);
          c.rounding = Rounding::kBf16;
          const AttendResult got = run(*backend_, c, n_tokens);
          expect_few_differ(got.out, run(*ref_, c, n_tokens).out, 0.02, what);
        }
      }
    }
  }
}

TEST_P(Attend, TokensDependOnThemselvesAlone) {
  for (const auto& [format, n_heads] : kShapes) {
    for (const int kind : {0, 1, 2}) {
      AttendCase c = random_case(format, n_heads, 16, 9, 33);
      if (kind == 1) add_first(c, 70);
      if (kind == 2) add_listed(c, 60, 33);
      c.n_mass = kind == 0 ? 0 : 70;
      SCOPED_TRACE("width " + std::to_string(c.width()) + ", kind " + std::to_string(kind));
      expect_invariant(GetParam(), 33, [&](Backend& backend, std::int64_t chunk) {
        AttendResult result = run(backend, c, chunk);
        result.out.insert(result.out.end(), result.mass.begin(), result.mass.end());
        return result.out;
      });
    }
  }
}

TEST_P(Attend, NoRowsGiveZeros) {
  AttendCase c = random_case({128, 32}, 2, 0, 0, 3);
  c.n_mass = 4;
  add_compressed(c, 4);
  c.n_listed = 4;
  c.listed.assign(3 * 4, -1);
  c.listed[5] = 2;  // token 1 alone sees a row
  const AttendResult got = run(*backend_, c, 3);
  for (std::int64_t i = 0; i < 3 * 2 * 160; ++i) {
    if (i / 320 == 1) continue;
    EXPECT_EQ(got.out[i], 0.0f);
  }
  for (int i = 0; i < 12; ++i) {
    if (i == 5) {
      EXPECT_GT(got.mass[i], 0.0f);
    } else {
      EXPECT_EQ(got.mass[i], 0.0f) << i;
    }
  }
  EXPECT_NE(got.out[320], 0.0f);
}

TEST_P(Attend, MinusOneIsAsIfNotListed) {
  AttendCase c = random_case({128, 32}, 2, 16, 20, 5);
  add_compressed(c, 9);
  AttendCase window_only = c;
  c.n_listed = 6;
  c.listed.assign(5 * 6, -1);
  expect_same_bits(run(*backend_, c, 5).out, run(*backend_, window_only, 5).out, "all -1");
  window_only.n_first.assign(5, 0);
  expect_same_bits(run(*backend_, c, 5).out, run(*backend_, window_only, 5).out, "none of n_first");
}

// A long run of leading rows may be cut into parts for several threads; a list never is.
TEST_P(Attend, OneTokenOverManyLeadingRowsEqualsListingThem) {
  for (const auto& [format, n_heads] : kShapes) {
    for (const std::int64_t n_rows : {511, 512, 900}) {
      AttendCase counted = random_case(format, n_heads, 16, 20, 1);
      add_compressed(counted, n_rows);
      counted.n_mass = n_rows;
      AttendCase listed = counted;
      counted.n_first.assign(1, static_cast<std::int32_t>(n_rows));
      listed.n_listed = n_rows;
      listed.listed.resize(n_rows);
      std::iota(listed.listed.begin(), listed.listed.end(), 0);
      const AttendResult got = run(*backend_, counted, 1);
      const AttendResult want = run(*backend_, listed, 1);
      expect_same_bits(got.out, want.out, std::to_string(n_rows) + " rows");
      expect_same_bits(got.mass, want.mass, std::to_string(n_rows) + " rows' mass");
    }
  }
}

TEST_P(Attend, ListingTheLeadingRowsEqualsCountingThem) {
  AttendCase counted = random_case({128, 32}, 4, 16, 20, 5);
  add_compressed(counted, 21);
  AttendCase listed = counted;
  counted.n_first.assign(5, 21);
  listed.n_listed = 21;
  for (int i = 0; i < 5 * 21; ++i) listed.listed.push_back(i % 21);
  expect_same_bits(run(*backend_, counted, 5).out, run(*backend_, listed, 5).out, "leading rows");
}

// All rows equal: without a sink the output is the row, with a sink it shrinks by n / (n + e^d).
TEST_P(Attend, SinkTakesItsShareAndHasNoValue) {
  AttendCase c{1, {64, 0}, 8, 7, 1};
  for (int p = 0; p < 8; ++p) c.window_kv.insert(c.window_kv.end(), 64, 2.0f);
  c.q.assign(64, 0.5f);
  c.scale = 0.125f;
  c.rope = real_rope(1, 0, 0);
  const double score = 64 * 0.5 * 2 * 0.125;
  for (const float value : run(*backend_, c, 1).out) EXPECT_FLOAT_EQ(value, 2.0f);
  c.sink = {static_cast<float>(score + std::log(8.0))};  // as much as the eight rows
  for (const float value : run(*backend_, c, 1).out) EXPECT_NEAR(value, 1.0f, 1e-5);
  c.sink = {1000};
  for (const float value : run(*backend_, c, 1).out) EXPECT_EQ(value, 0.0f);
  c.sink = {-std::numeric_limits<float>::infinity()};
  for (const float value : run(*backend_, c, 1).out) EXPECT_FLOAT_EQ(value, 2.0f);
}

TEST_P(Attend, MassIsTheProbabilityOfTheSelectedRows) {
  AttendCase c = random_case({128, 32}, 4, 0, 0, 3);  // no window
  add_first(c, 20);
  c.sink.clear();
  c.n_mass = 25;
  const AttendResult got = run(*backend_, c, 3);
  for (std::int64_t t = 0; t < 3; ++t) {
    double sum = 0;
    for (std::int64_t i = 0; i < 25; ++i) sum += got.mass[t * 25 + i];
    EXPECT_NEAR(sum, 4, 1e-5) << "one for each head";
    for (std::int64_t i = c.n_first[t]; i < 25; ++i) EXPECT_EQ(got.mass[t * 25 + i], 0.0f);
  }
}

TEST_P(Attend, LargeScoresDoNotOverflow) {
  AttendCase c = random_case({128, 32}, 4, 16, 20, 5);
  add_listed(c, 60, 33);
  for (float& value : c.q) value *= 4096;
  c.sink.assign(4, 50.0f);
  for (const float value : run(*backend_, c, 5).out) ASSERT_TRUE(std::isfinite(value));
}

TEST_P(Attend, NotANumberStaysInItsHead) {
  AttendCase c = random_case({128, 32}, 4, 16, 20, 5);
  const AttendResult clean = run(*backend_, c, 5);
  c.q[(2 * 4 + 1) * 160] = std::numeric_limits<float>::quiet_NaN();  // token 2, head 1
  const AttendResult got = run(*backend_, c, 5);
  for (std::size_t i = 0; i < got.out.size(); ++i) {
    if (i / 160 == 2 * 4 + 1) {
      ASSERT_TRUE(std::isnan(got.out[i]));
    } else {
      ASSERT_EQ(got.out[i], clean.out[i]);
    }
  }
}

// Two rows with scores 0 and log 3, by hand; the tail is turned back by the query's position.
TEST(AttendReference, WeighsRowsBySoftmaxAndTurnsBack) {
  const TestBackend ref({"ref", ""});
  AttendCase c{1, {64, 2, RopeStorage::kF32}, 2, 1, 1};
  c.window_kv.assign(2 * 66, 0.0f);
  c.window_kv[66] = 1;                         // row of position 1: score log 3
  c.window_kv[64] = c.window_kv[66 + 64] = 1;  // both tails are (1, 0)
  c.q.assign(66, 0.0f);
  c.q[0] = std::log(3.0f);
  c.scale = 1;
  c.rope = real_rope(1, 2, 1);
  const std::vector<float> got = run(*ref, c, 1).out;
  EXPECT_FLOAT_EQ(got[0], 0.75f);
  EXPECT_EQ(got[1], 0.0f);
  EXPECT_FLOAT_EQ(got[64], std::cos(1.0f));
  EXPECT_FLOAT_EQ(got[65], -std::sin(1.0f));
}

}  // namespace
}  // namespace precis
