#include "ops/query.h"

#include <cmath>
#include <limits>

#include "ops/op_test_util.h"
#include "tensor/rows.h"

namespace precis {
namespace {

PRECIS_OP_SUITE(Query);
PRECIS_OP_SUITE(WindowRowsOp);
PRECIS_OP_SUITE(CommitWindow);
PRECIS_OP_SUITE(IndexQuery);

struct Widths {
  int width;
  int rope;
};
constexpr Widths kHeadWidths[] = {{160, 32}, {512, 64}, {128, 64}, {64, 0}, {66, 2}, {100, 34}};

std::vector<float> run_query(Backend& backend, const std::vector<float>& q, int n_heads, int width,
                             const TestRope& rope, float eps, Rounding rounding,
                             std::int64_t chunk) {
  std::vector<float> out = q;
  const std::int64_t n = rope.n;
  for_each_chunk(n, chunk, [&](std::int64_t begin, std::int64_t count) {
    backend.query({Cube<float>(out.data(), n, n_heads, width).slice(begin, count),
                   rope.slice(begin, count), eps, rounding});
  });
  return out;
}

// Magnitudes 2 normalise to ±1 exactly, and quarter turns move them without rounding.
TEST_P(Query, PlantedValuesAreExact) {
  for (const auto& [width, rope_width] : kHeadWidths) {
    for (const std::int64_t n : kTokenCounts) {
      std::vector<float> q = small_ints(n * 3 * width, 1, 1);
      for (float& value : q) value *= 2;
      const TestRope rope = quarter_turns(n, rope_width, 2);
      const std::vector<float> got = run_query(*backend_, q, 3, width, rope, 0, Rounding::kBf16, n);
      const std::vector<float> want = run_query(*ref_, q, 3, width, rope, 0, Rounding::kBf16, n);
      expect_same_bits(got, want, "width " + std::to_string(width));
      for (const float value : got) ASSERT_EQ(std::abs(value), 1.0f);
    }
  }
}

TEST_P(Query, RandomDataStaysWithinItsRounding) {
  for (const auto& [width, rope_width] : kHeadWidths) {
    const std::vector<float> q = activations(17 * 5 * width, 3);
    const TestRope rope = real_rope(17, rope_width, 1000);
    const std::vector<float> want = run_query(*ref_, q, 5, width, rope, 1e-6f, Rounding::kNone, 17);
    // A normalised value is below 4 here; a rotation adds two of them.
    expect_within(
        run_query(*backend_, q, 5, width, rope, 1e-6f, Rounding::kNone, 17), want,
        [&, n = width](std::size_t) { return 2 * 4 * (norm_tolerance(n) + 3 * 0x1p-24); },
        "width " + std::to_string(width));
    expect_few_differ(run_query(*backend_, q, 5, width, rope, 1e-6f, Rounding::kBf16, 17),
                      run_query(*ref_, q, 5, width, rope, 1e-6f, Rounding::kBf16, 17), 0.01,
                      "width " + std::to_string(width));
  }
}

TEST_P(Query, TokensDependOnThemselvesAlone) {
  for (const auto& [width, rope_width] : kHeadWidths) {
    const std::vector<float> q = activations(33 * 4 * width, 3);
    const TestRope rope = real_rope(33, rope_width, 7);
    expect_invariant(GetParam(), 33, [&, n = width](Backend& backend, std::int64_t chunk) {
      return run_query(backend, q, 4, n, rope, 1e-6f, Rounding::kNone, chunk);
    });
  }
}

TEST_P(Query, ZeroHeadsStayZeroAndNotANumberStaysInItsHead) {
  std::vector<float> q = activations(3 * 2 * 64, 3);
  for (int i = 0; i < 64; ++i) q[i] = 0;
  q[64 + 5] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> got =
      run_query(*backend_, q, 2, 64, real_rope(3, 32, 0), 1e-6f, Rounding::kBf16, 3);
  for (int i = 0; i < 64; ++i) {
    EXPECT_EQ(got[i], 0.0f);
    EXPECT_TRUE(std::isnan(got[64 + i]));
    EXPECT_TRUE(std::isfinite(got[128 + i]));
  }
}

TEST(QueryReference, PairsAreNeighboursAndTurnByThePosition) {
  const TestBackend ref({"ref", ""});
  const TestRope rope = real_rope(1, 4, 1);  // pair 0 turns 1 rad, pair 1 0.01 rad
  const std::vector<float> got =
      run_query(*ref, {1, 1, 1, -1, 1, 1}, 1, 6, rope, 0, Rounding::kNone, 1);
  const float want[] = {1,
                        1,
                        std::cos(1.0f) + std::sin(1.0f),
                        std::sin(1.0f) - std::cos(1.0f),
                        std::cos(0.01f) - std::sin(0.01f),
                        std::sin(0.01f) + std::cos(0.01f)};
  for (int i = 0; i < 6; ++i) EXPECT_FLOAT_EQ(got[i], want[i]) << i;
}

std::vector<std::uint8_t> run_window(Backend& backend, const std::vector<float>& kv,
                                     const std::vector<float>& norm, const TestRope& rope,
                                     const KvRowFormat& format, Rounding rounding,
                                     std::int64_t chunk) {
  constexpr int kWindow = 16;
  const std::int64_t n = rope.n;
  std::vector<std::uint8_t> all;
  for_each_chunk(n, chunk, [&](std::int64_t begin, std::int64_t count) {
    const TestPool pool(kWindow + count, kWindow, format);
    backend.window_rows({mat(kv, n, format.width()).slice_rows(begin, count),
                         norm,
                         rope.slice(begin, count),
                         format,
                         {pool.view(), kWindow, begin},
                         1e-6f,
                         rounding});
    const std::vector<std::uint8_t> bytes = pool.bytes();
    const std::int64_t ring_bytes = kWindow * format.row_bytes();
    for (std::int64_t i = 0; i < ring_bytes; ++i) EXPECT_EQ(bytes[i], 0) << "the ring is written";
    all.insert(all.end(), bytes.begin() + ring_bytes, bytes.end());
  });
  return all;
}

constexpr KvRowFormat kKvFormats[] = {{128, 32},
                                      {448, 64},
                                      {64, 64},
                                      {96, 32},
                                      {128, 32, RopeStorage::kF32},
                                      {448, 64, RopeStorage::kF32}};

TEST_P(WindowRowsOp, PlantedValuesAreExact) {
  for (const KvRowFormat& format : kKvFormats) {
    for (const std::int64_t n : kTokenCounts) {
      std::vector<float> kv = small_ints(n * format.width(), 1, 1);
      for (float& value : kv) value *= 1024;  // the root mean square absorbs eps
      const std::vector<float> norm = small_ints(format.width(), 2, 7);
      const TestRope rope = quarter_turns(n, format.rope, 3);
      const auto run = [&](Backend& backend) {
        return run_window(backend, kv, norm, rope, format, Rounding::kBf16, n);
      };
      const std::vector<std::uint8_t> got = run(*backend_);
      expect_same_bits(got, run(*ref_), "width " + std::to_string(format.width()));
    }
  }
}

TEST_P(WindowRowsOp, RandomRowsHaveTheSameCodes) {
  for (const KvRowFormat& format : kKvFormats) {
    const std::vector<float> kv = activations(33 * format.width(), 4);
    const std::vector<float> norm = activations(format.width(), 5);
    const TestRope rope = real_rope(33, format.rope, 5000);
    const bool is_exact = format.rope_storage == RopeStorage::kF32;
    const Rounding rounding = is_exact ? Rounding::kNone : Rounding::kBf16;
    const auto run = [&](Backend& backend, std::int64_t chunk) {
      return run_window(backend, kv, norm, rope, format, rounding, chunk);
    };
    // An f32 channel differs in its last byte more often than not; one in ten bytes of the row is.
    expect_few_differ(run(*backend_, 33), run(*ref_, 33), is_exact ? 0.2 : 0.005,
                      "width " + std::to_string(format.width()));
    expect_invariant(GetParam(), 33, run);
  }
}

TEST_P(WindowRowsOp, BrokenRowsAreMarked) {
  const KvRowFormat format{128, 32};
  std::vector<float> kv = activations(3 * 160, 4);
  kv[160] = std::numeric_limits<float>::quiet_NaN();
  for (int i = 0; i < 160; ++i) kv[320 + i] = 0;
  const std::vector<float> norm(160, 1.0f);
  const std::vector<std::uint8_t> bytes =
      run_window(*backend_, kv, norm, real_rope(3, 32, 0), format, Rounding::kBf16, 3);
  const int scales = format.data_bytes();
  EXPECT_EQ(bytes[format.row_bytes() + scales], 255);
  EXPECT_EQ(bytes[format.row_bytes() + scales + 1], 255);
  EXPECT_EQ(bytes[2 * format.row_bytes() + scales], 105);  // docs/model.md §4: a zero group
  EXPECT_EQ(bytes[2 * format.row_bytes()], 0);
}

// Every byte of the pool says which slot it came from; the expectation walks positions.
TEST_P(CommitWindow, TheRingHoldsTheLastPositions) {
  constexpr int kWindow = 8;
  const KvRowFormat format{64, 8};
  for (const std::int64_t n_tokens : {0, 1, 7, 8, 9, 19, 33}) {
    for (const std::int64_t step_begin : {0, 3, 8, 21}) {
      const TestPool pool(kWindow + n_tokens, kWindow, format);
      for (std::int64_t slot = 0; slot < kWindow + n_tokens; ++slot) {
        std::memset(pool.view().data(slot), static_cast<int>(slot), format.data_bytes());
        std::memset(pool.view().scales(slot), static_cast<int>(100 + slot), format.scale_bytes());
      }
      const WindowRows rows{pool.view(), kWindow, step_begin};
      std::vector<int> want(kWindow);  // per ring slot, the slot its bytes come from
      for (int slot = 0; slot < kWindow; ++slot) want[slot] = slot;
      for (std::int64_t i = 0; i < n_tokens; ++i) {
        want[(step_begin + i) % kWindow] = static_cast<int>(kWindow + i);
      }
      backend_->commit_window({rows, n_tokens});
      for (int slot = 0; slot < kWindow; ++slot) {
        for (int i = 0; i < format.data_bytes(); ++i) {
          ASSERT_EQ(std::to_integer<int>(pool.view().data(slot)[i]), want[slot]);
        }
        for (int i = 0; i < format.scale_bytes(); ++i) {
          ASSERT_EQ(std::to_integer<int>(pool.view().scales(slot)[i]), 100 + want[slot]);
        }
      }
    }
  }
}

std::vector<std::uint8_t> run_index_query(Backend& backend, const std::vector<float>& q,
                                          int n_heads, int width, const TestRope& rope,
                                          Rounding rounding, std::int64_t chunk) {
  const IndexRowFormat format{width};
  std::vector<std::uint8_t> all;
  for_each_chunk(rope.n, chunk, [&](std::int64_t begin, std::int64_t count) {
    const TestPool pool(count * n_heads, 5, format);
    backend.index_query({Cube<const float>(q.data(), rope.n, n_heads, width).slice(begin, count),
                         rope.slice(begin, count), format, pool.view(), rounding});
    const std::vector<std::uint8_t> bytes = pool.bytes();
    all.insert(all.end(), bytes.begin(), bytes.end());
  });
  return all;
}

TEST_P(IndexQuery, IntegersAreExact) {
  for (const auto& [width, rope_width] : {Widths{64, 32}, {128, 64}, {32, 8}, {256, 64}}) {
    for (const std::int64_t n : kTokenCounts) {
      const std::vector<float> q = small_ints(n * 4 * width, 1);
      const TestRope rope = quarter_turns(n, rope_width, 2);
      expect_same_bits(run_index_query(*backend_, q, 4, width, rope, Rounding::kBf16, n),
                       run_index_query(*ref_, q, 4, width, rope, Rounding::kBf16, n),
                       "width " + std::to_string(width));
    }
  }
}

TEST_P(IndexQuery, RandomRowsHaveTheSameCodesAndTokensAreIndependent) {
  for (const auto& [width, rope_width] : {Widths{64, 32}, {128, 64}}) {
    const std::vector<float> q = activations(33 * 4 * width, 3);
    const TestRope rope = real_rope(33, rope_width, 777);
    for (const Rounding rounding : {Rounding::kNone, Rounding::kBf16}) {
      const auto run = [&, n = width](Backend& backend, std::int64_t chunk) {
        return run_index_query(backend, q, 4, n, rope, rounding, chunk);
      };
      expect_few_differ(run(*backend_, 33), run(*ref_, 33), 0.005,
                        "width " + std::to_string(width));
      expect_invariant(GetParam(), 33, run);
    }
  }
}

// A Hadamard transform of a unit vector is a row of signs; 64^-0.5 = 1/8.
TEST_P(IndexQuery, HadamardIsInNaturalOrder) {
  constexpr int kWidth = 64;
  std::vector<float> q(kWidth);
  q[5] = 8;
  const IndexRowFormat format{kWidth};
  const TestPool pool(1, 1, format);
  const TestRope rope = real_rope(1, 0, 0);
  backend_->index_query({{q.data(), 1, 1, kWidth}, rope.table(), format, pool.view()});
  const std::vector<float> got = read_index_row(pool.view(), 0, format);
  for (int i = 0; i < kWidth; ++i) {
    EXPECT_EQ(got[i], __builtin_popcount(i & 5) % 2 == 0 ? 1.0f : -1.0f) << i;
  }
}

}  // namespace
}  // namespace precis
