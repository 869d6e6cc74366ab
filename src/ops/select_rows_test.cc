// select over V3.2's index rows: e4m3 codes under one F32 scale.
#include <algorithm>
#include <cmath>

#include "ops/op_test_util.h"
#include "ops/select.h"
#include "tensor/rows.h"

namespace precis {
namespace {

PRECIS_OP_SUITE(SelectRows);

constexpr int kHeads = 5;
constexpr IndexRowFormat kFormat{64, IndexStorage::kE4m3};

struct IndexRows {
  IndexRows(std::int64_t n, int rows_per_page, const std::vector<float>& values)
      : pool(n, rows_per_page, kFormat) {
    for (std::int64_t row = 0; row < n; ++row) {
      write_index_row(pool.view(), row, kFormat,
                      std::span(values).subspan(row * kFormat.width, kFormat.width));
    }
  }
  TestPool pool;
};

// Each row of the first group ends in 448, so that its scale is 1 and integers stay integers.
std::vector<float> integer_rows(std::int64_t n, std::uint64_t seed) {
  std::vector<float> values = small_ints(n * kFormat.width, seed);
  for (std::int64_t row = 0; row < n; ++row) values[row * kFormat.width] = 448;
  return values;
}

std::vector<std::int32_t> run(Backend& backend, const std::vector<float>& queries,
                              const std::vector<float>& keys, std::int64_t n_keys,
                              std::int64_t n_tokens, int n_selected, std::int64_t chunk) {
  const IndexRows key_rows(n_keys, 16, keys);
  const std::vector<float> weights = small_ints(n_tokens * kHeads, 3);
  std::vector<std::int32_t> n_visible;
  for (std::int64_t t = 0; t < n_tokens; ++t) {
    n_visible.push_back(
        static_cast<std::int32_t>(std::max<std::int64_t>(0, n_keys - n_tokens + 1 + t)));
  }
  std::vector<std::int32_t> out(n_tokens * n_selected, -7);
  for_each_chunk(n_tokens, chunk, [&](std::int64_t begin, std::int64_t n) {
    const std::vector<float> part(queries.begin() + begin * kHeads * kFormat.width,
                                  queries.begin() + (begin + n) * kHeads * kFormat.width);
    const IndexRows query_rows(n * kHeads, 7, part);
    backend.select({query_rows.pool.view(), mat(weights, n_tokens, kHeads).slice_rows(begin, n),
                    0.25f, key_rows.pool.view(), kFormat, std::span(n_visible).subspan(begin, n),
                    mat(out, n_tokens, n_selected).slice_rows(begin, n)});
  });
  return out;
}

TEST_P(SelectRows, ExactScoresGiveTheSameRowsInTheSameOrder) {
  if (GetParam().name == "cuda") GTEST_SKIP() << "the GPU selects among FP4 keys only";
  for (const std::int64_t n_keys : {1, 31, 32, 33, 100, 257}) {
    for (const std::int64_t n_tokens : {1, 5, 17}) {
      const std::vector<float> queries = integer_rows(n_tokens * kHeads, 1);
      const std::vector<float> keys = integer_rows(n_keys, 2);
      const auto got = run(*backend_, queries, keys, n_keys, n_tokens, 24, n_tokens);
      const auto want = run(*ref_, queries, keys, n_keys, n_tokens, 24, n_tokens);
      expect_same_bits(got, want, "keys " + std::to_string(n_keys));
    }
  }
}

TEST_P(SelectRows, TokensDependOnThemselvesAlone) {
  if (GetParam().name == "cuda") GTEST_SKIP() << "the GPU selects among FP4 keys only";
  const std::vector<float> queries = activations(33 * kHeads * kFormat.width, 1);
  const std::vector<float> keys = activations(300 * kFormat.width, 2);
  expect_invariant(GetParam(), 33, [&](Backend& backend, std::int64_t chunk) {
    const auto rows = run(backend, queries, keys, 300, 33, 24, chunk);
    return std::vector<float>(rows.begin(), rows.end());
  });
}

}  // namespace
}  // namespace precis
