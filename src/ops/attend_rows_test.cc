// attend over the rows of V4's predecessors: key and value channels, storage, and KV heads.
#include <algorithm>
#include <cmath>

#include "ops/attend.h"
#include "ops/op_test_util.h"
#include "tensor/rows.h"

namespace precis {
namespace {

PRECIS_OP_SUITE(AttendRows);

constexpr int kRowsPerPage = 8;

struct RowsCase {
  std::string name;
  KvRowFormat format;
  Channels key;
  Channels value;
  int n_heads = 4;
  int n_kv_heads = 1;
};

KvRowFormat bf16_rows(int nope, int rope) {
  return {nope, rope, RopeStorage::kBf16, NopeStorage::kBf16};
}

const RowsCase kCases[] = {
    {"split", bf16_rows(80, 0), {0, 48}, {48, 32}, 4, 2},
    {"odd split", bf16_rows(41, 0), {0, 22}, {22, 19}, 3, 3},
    {"latent", bf16_rows(128, 32), {0, 160}, {0, 128}, 8, 1},
    {"key behind value", bf16_rows(64, 16), {30, 50}, {0, 40}, 4, 1},
    {"packed latent",
     {160, 32, RopeStorage::kBf16, NopeStorage::kE4m3Scales32},
     {0, 192},
     {0, 160},
     8,
     1},
    {"whole V4 row", {128, 32}, {}, {}, 4, 2},
};

enum class Use : std::uint8_t { kFirst, kListed, kWindow };

struct Rows {
  // Pages of `n` rows for each KV head, all heads' pages in one list.
  Rows(const RowsCase& c, std::int64_t n, int rows_per_page, std::uint64_t seed)
      : head_pages((n + rows_per_page - 1) / rows_per_page),
        pool(head_pages * rows_per_page * c.n_kv_heads, rows_per_page, c.format) {
    view = pool.view();
    view.head_pages = head_pages;
    values = activations(n * c.n_kv_heads * c.format.width(), seed);
    for (std::int64_t row = 0; row < n * c.n_kv_heads; ++row) {
      write_kv_row(
          view.of_head(row / n), row % n, c.format,
          std::span<const float>(values).subspan(row * c.format.width(), c.format.width()));
    }
  }
  std::int64_t head_pages;
  TestPool pool;
  RowPool view;
  std::vector<float> values;  // [n_kv_heads · n, width], before packing
};

struct RowsResult {
  std::vector<float> out;
  std::vector<float> mass;  // [T·G, n_mass]
};

constexpr std::int64_t kTokens = 17;
constexpr std::int64_t kRowsSeen = 40;
constexpr int kWindow = 12;

// A step of kTokens in chunks; steps that use the window are not cut.
RowsResult run(Backend& backend, const RowsCase& c, Use use, std::int64_t chunk) {
  const int key = c.key.count > 0 ? c.key.count : c.format.width();
  const int value = c.value.count > 0 ? c.value.count : c.format.width();
  const std::vector<float> q = activations(kTokens * c.n_heads * key, 1);
  const Rows rows(c, kRowsSeen, kRowsPerPage, 2);
  const std::vector<float> none;
  std::vector<std::int32_t> n_first;
  for (std::int64_t t = 0; t < kTokens; ++t) {
    n_first.push_back(static_cast<std::int32_t>(kRowsSeen - kTokens + 1 + t));
  }
  std::vector<std::int32_t> listed = random_ints(kTokens * c.n_kv_heads * 9, 3, kRowsSeen + 4);
  for (std::int32_t& row : listed) row = row < kRowsSeen ? row : -1;
  RowsResult result{std::vector<float>(kTokens * c.n_heads * value, -7.0f),
                    std::vector<float>(kTokens * c.n_kv_heads * kRowsSeen, -7.0f)};
  for_each_chunk(kTokens, chunk, [&](std::int64_t begin, std::int64_t n) {
    AttendArgs a;
    a.q = Cube<const float>(q.data(), kTokens, c.n_heads, key).slice(begin, n);
    a.format = c.format;
    a.key = c.key;
    a.value = c.value;
    a.n_kv_heads = c.n_kv_heads;
    a.scale = 0.05f;
    a.out = Cube<float>(result.out.data(), kTokens, c.n_heads, value).slice(begin, n);
    const std::int64_t n_lists = n * c.n_kv_heads;
    a.compressed = rows.view;
    if (use == Use::kFirst) a.selection.n_first = std::span(n_first).subspan(begin, n);
    if (use == Use::kListed) {
      a.selection.listed = {listed.data() + begin * c.n_kv_heads * 9, n_lists, 9};
    }
    // The step's rows lie behind the ring, whose oldest rows the first tokens still see.
    const Rows window(c, kWindow + kTokens, kWindow, 4);
    if (use == Use::kWindow) {
      a.window = {window.view, kWindow, kWindow};
    } else {
      a.mass = {result.mass.data() + begin * c.n_kv_heads * kRowsSeen, n_lists, kRowsSeen};
    }
    backend.attend(a);
  });
  return result;
}

TEST_P(AttendRows, RandomDataStaysWithinItsRounding) {
  for (const RowsCase& c : kCases) {
    for (const Use use : {Use::kFirst, Use::kListed, Use::kWindow}) {
      SCOPED_TRACE(c.name + ", use " + std::to_string(static_cast<int>(use)));
      const RowsResult got = run(*backend_, c, use, kTokens);
      const RowsResult want = run(*ref_, c, use, kTokens);
      // As in attend_test.cc: weights pass on the error of a score, a chain over the key.
      const std::vector<float> largest(c.format.width(), 2);
      const double score_error =
          chain_tolerance(largest, largest) * 0.05 / std::sqrt(static_cast<double>(largest.size()));
      const double relative = 2 * score_error + 40 * 0x1p-24;
      expect_within(
          got.out, want.out, [&](std::size_t) { return relative * 4; }, c.name);
      if (use == Use::kWindow) continue;
      expect_within(
          got.mass, want.mass, [&](std::size_t i) { return relative * (want.mass[i] + 1e-6); },
          c.name + ", mass");
    }
  }
}

TEST_P(AttendRows, TokensDependOnThemselvesAlone) {
  for (const RowsCase& c : kCases) {
    for (const Use use : {Use::kFirst, Use::kListed}) {
      SCOPED_TRACE(c.name);
      expect_invariant(GetParam(), kTokens, [&](Backend& backend, std::int64_t chunk) {
        RowsResult result = run(backend, c, use, chunk);
        result.out.insert(result.out.end(), result.mass.begin(), result.mass.end());
        return result.out;
      });
    }
  }
}

// One row only: the output is its value part, for each head that of its own KV head.
TEST_P(AttendRows, OneRowIsReturnedAsStored) {
  for (const RowsCase& c : kCases) {
    if (c.value.count == 0) continue;
    const Rows rows(c, kRowsSeen, kRowsPerPage, 2);
    const std::vector<float> q = activations(c.n_heads * c.key.count, 1);
    std::vector<float> out(c.n_heads * c.value.count);
    std::vector<std::int32_t> listed;
    for (int g = 0; g < c.n_kv_heads; ++g) listed.push_back(11 + g);
    AttendArgs a;
    a.q = {q.data(), 1, c.n_heads, c.key.count};
    a.format = c.format;
    a.key = c.key;
    a.value = c.value;
    a.n_kv_heads = c.n_kv_heads;
    a.scale = 1;
    a.compressed = rows.view;
    a.selection.listed = {listed.data(), c.n_kv_heads, 1};
    a.out = {out.data(), 1, c.n_heads, c.value.count};
    backend_->attend(a);
    std::vector<float> want;
    for (int h = 0; h < c.n_heads; ++h) {
      const int g = h * c.n_kv_heads / c.n_heads;
      const std::vector<float> row = read_kv_row(rows.view.of_head(g), 11 + g, c.format);
      want.insert(want.end(), row.begin() + c.value.begin, row.begin() + c.value.end());
    }
    expect_same_bits(out, want, c.name);
  }
}

TEST(KvRows, TakeTheBytesOfTheirLayout) {
  const KvRowFormat v32{512, 64, RopeStorage::kBf16, NopeStorage::kE4m3Scales32};
  EXPECT_EQ(v32.row_bytes(), 656);
  EXPECT_EQ(v32.scale_bytes(), 0);
  EXPECT_EQ(bf16_rows(512, 64).row_bytes(), 1152);
  EXPECT_EQ((IndexRowFormat{128, IndexStorage::kE4m3}.row_bytes()), 132);
}

// A scale of amax / 448 leaves an error of half a step: 2^-4 of a value, or of the least normal.
TEST(KvRows, KeepValuesWithinHalfAStep) {
  const KvRowFormat format{256, 2, RopeStorage::kF32, NopeStorage::kE4m3Scales32};
  const TestPool pool(1, 1, format);
  std::vector<float> values = uniform(258, 7, -3, 3);
  for (int i = 128; i < 256; ++i) values[i] *= 1000;  // another group, another scale
  write_kv_row(pool.view(), 0, format, values);
  const std::vector<float> got = read_kv_row(pool.view(), 0, format);
  for (int i = 0; i < 256; ++i) {
    const double amax = i < 128 ? 3 : 3000;
    EXPECT_NEAR(got[i], values[i], 0x1p-4 * std::abs(values[i]) + amax / 448 * 0x1p-9) << i;
  }
  EXPECT_EQ(got[256], values[256]);
  EXPECT_EQ(got[257], values[257]);
}

}  // namespace
}  // namespace precis
