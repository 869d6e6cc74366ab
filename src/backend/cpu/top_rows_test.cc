#include "backend/cpu/top_rows.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

#include "base/rng.h"
#include "tensor/bf16.h"

namespace precis {
namespace {

constexpr std::int32_t kChunkRows = 64;

// Scores near 1 whose rounding to bf16 makes many ties.
std::vector<float> near_scores(std::int32_t n, std::uint64_t seed) {
  std::vector<float> out(n);
  for (std::int32_t row = 0; row < n; ++row) {
    out[row] = 1.0f + static_cast<float>(random_bits(seed, row) % 4096) * 0x1p-15f;
  }
  return out;
}

// What kernels do with chunks of rows, in the order given.
std::vector<std::int32_t> select(const std::vector<float>& scores, std::int64_t k,
                                 const std::vector<std::int32_t>& chunks) {
  std::vector<std::uint64_t> entries(TopRows::capacity(k, std::ssize(scores)));
  TopRows best(entries, k);
  for (const std::int32_t chunk : chunks) {
    const float bound = best.bound(chunk * kChunkRows);
    for (std::int32_t row = chunk * kChunkRows; row < (chunk + 1) * kChunkRows; ++row) {
      if (scores[row] <= bound) continue;
      best.add(round_to_bf16(scores[row]), row);
    }
  }
  std::vector<std::int32_t> out(k);
  best.finish(out);
  return out;
}

std::vector<std::int32_t> sorted_rows(const std::vector<float>& scores, std::int64_t k) {
  std::vector<std::int32_t> rows(scores.size());
  std::iota(rows.begin(), rows.end(), 0);
  std::ranges::stable_sort(rows, [&](std::int32_t a, std::int32_t b) {
    return round_to_bf16(scores[a]) > round_to_bf16(scores[b]);
  });
  rows.resize(k);
  return rows;
}

TEST(TopRows, OrderOfChunksDoesNotMatter) {
  for (const std::int64_t k : {1, 20, 100}) {
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
      const std::vector<float> scores = near_scores(32 * kChunkRows, seed);
      const std::vector<std::int32_t> want = sorted_rows(scores, k);
      std::vector<std::int32_t> chunks(32);
      std::iota(chunks.begin(), chunks.end(), 0);
      EXPECT_EQ(select(scores, k, chunks), want) << "ascending, K " << k;
      std::ranges::reverse(chunks);
      EXPECT_EQ(select(scores, k, chunks), want) << "descending, K " << k;
      std::ranges::sort(chunks, {},
                        [&](std::int32_t chunk) { return random_bits(seed + 100, chunk); });
      EXPECT_EQ(select(scores, k, chunks), want) << "mixed, K " << k;
    }
  }
}

TEST(TopRows, RulesNothingOutBeforeItIsFull) {
  std::vector<std::uint64_t> entries(TopRows::capacity(2, 1000));
  TopRows best(entries, 2);
  EXPECT_TRUE(std::isnan(best.bound(0)));
  best.add(5.0f, 3);
  EXPECT_TRUE(std::isnan(best.bound(4)));
}

TEST(TopRows, LaterRowsNeedMoreThanTheWorstKept) {
  std::vector<std::uint64_t> entries(TopRows::capacity(2, 1000));
  TopRows best(entries, 2);
  for (std::size_t i = 0; i < entries.size(); ++i) best.add(-0.0f, 500 + static_cast<int>(i));
  EXPECT_EQ(best.bound(600), 0.0f);
  EXPECT_LT(best.bound(100), 0.0f);
}

TEST(TopRows, NotANumberIsBelowMinusInfinity) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::vector<std::uint64_t> entries(TopRows::capacity(4, 4));
  TopRows best(entries, 4);
  best.add(std::numeric_limits<float>::quiet_NaN(), 0);
  best.add(-kInfinity, 1);
  best.add(kInfinity, 2);
  best.add(-1.0f, 3);
  std::vector<std::int32_t> out(4);
  best.finish(out);
  EXPECT_EQ(out, (std::vector<std::int32_t>{2, 3, 1, 0}));
}

}  // namespace
}  // namespace precis
