// What a GPU has to share with the CPU bit for bit: the selection, for the shapes of released models.
#include <algorithm>
#include <deque>
#include <memory>

#include <gtest/gtest.h>

#include "base/rng.h"
#include "ops/op_test_util.h"

namespace precis {
namespace {

constexpr std::int64_t kAllDiffer = 1'000'000;  // kinds of rows, more than there are rows

// Rows of random codes whose groups' scales spread over `n_scales` powers of two; every 97th row's over
// nine.  Up to four become shifts of the codes.  Rows that are `n_kinds` apart are equal.
struct Rows {
  Rows(std::int64_t n, const IndexRowFormat& format, int n_scales, std::uint64_t seed,
       int rows_per_page = 64, std::int64_t n_kinds = kAllDiffer)
      : pool(n, rows_per_page, format) {
    for (std::int64_t row = 0; row < n; ++row) {
      const std::int64_t kind = row % n_kinds;
      for (int i = 0; i < format.data_bytes(); ++i) {
        pool.view().data(row)[i] = static_cast<std::byte>(random_bits(seed, kind * 256 + i) & 0xff);
      }
      const int spread = kind % 97 == 96 ? 9 : n_scales;
      for (int i = 0; i < format.scale_bytes(); ++i) {
        pool.view().scales(row)[i] =
            static_cast<std::byte>(120 + random_bits(seed + 1, kind * 256 + i) % spread);
      }
    }
  }
  TestPool pool;
};

struct Shape {
  int n_heads = 64;
  int width = 128;
  int k = 512;
  std::int64_t n_tokens = 1;
  std::int64_t n_keys = 0;
  int query_scales = 1;
  int key_scales = 1;
  bool is_zero = false;  // all scores
  int rows_per_page = 64;
  std::int64_t n_kinds = kAllDiffer;
  float greatest_weight = 1;
};

class SelectOnGpu : public testing::TestWithParam<Rounding> {
 protected:
  void SetUp() override {
    if (!has_gpu()) GTEST_SKIP() << "no GPU";
    cuda_ = std::make_unique<TestBackend>(BackendCase{"cuda", ""});
  }

  void compare(const Shape& shape) {
    const auto& [n_heads, width, k, n_tokens, n_keys, query_scales, key_scales, is_zero,
                 rows_per_page, n_kinds, greatest_weight] = shape;
    const IndexRowFormat format{width};
    const Rows keys(n_keys, format, key_scales, 1, rows_per_page, n_kinds);
    const Rows queries(n_tokens * n_heads, format, query_scales, 2);
    std::vector<float> weights = uniform(n_tokens * n_heads, 3, -0.5f, greatest_weight);
    if (is_zero) weights.assign(weights.size(), 0.0f);
    std::vector<std::int32_t> n_visible;
    for (std::int64_t t = 0; t < n_tokens; ++t) {
      n_visible.push_back(static_cast<std::int32_t>(std::max<std::int64_t>(0, n_keys - 37 * t)));
    }
    const auto run = [&](const TestBackend& backend) {
      std::vector<std::int32_t> out(n_tokens * k, -7);
      backend->select({queries.pool.view(), mat(weights, n_tokens, n_heads), 0.0110485f,
                       keys.pool.view(), format, n_visible, mat(out, n_tokens, k), GetParam()});
      return out;
    };
    const std::string what = "heads " + std::to_string(n_heads) + ", k " + std::to_string(k) +
                             ", tokens " + std::to_string(n_tokens) + ", keys " +
                             std::to_string(n_keys) + ", scales " + std::to_string(query_scales) +
                             " and " + std::to_string(key_scales);
    const std::vector<std::int32_t> want = run(cpu_);
    // Twice: a launch leaves its counters as it found them.
    for (int i = 0; i < 2; ++i) expect_same_bits(run(*cuda_), want, what);
  }

  TestBackend cpu_{{"cpu", ""}};
  std::unique_ptr<TestBackend> cuda_;
};

TEST_P(SelectOnGpu, EqualsTheCpuBitForBit) {
  for (const auto& [n_heads, width, k] :
       {std::tuple{64, 128, 512}, {64, 128, 1024}, {64, 128, 32}, {5, 128, 40}, {4, 64, 32}}) {
    for (const std::int64_t n_tokens : {1, 3, 40}) {
      const std::int64_t n_keys = n_tokens == 40 ? 3'000 : 30'011;
      compare({n_heads, width, k, n_tokens, n_keys, 9, 9});
    }
  }
}

TEST_P(SelectOnGpu, ScalesAsShiftsChangeNoBit) {
  for (const auto& [query_scales, key_scales] : {std::pair{1, 1}, {1, 4}, {4, 1}, {4, 9}, {9, 4}}) {
    for (const std::int64_t n_tokens : {1, 2, 7}) {
      compare({64, 128, 512, n_tokens, 9'001, query_scales, key_scales});
    }
  }
}

// More rows than a block's list holds, and more tokens than blocks share rows for.
TEST_P(SelectOnGpu, ListsThatOverflowKeepTheBest) {
  compare({64, 128, 512, 1'100, 3'003, 1, 1});
  compare({4, 64, 32, 1'300, 3'003, 1, 1});
}

TEST_P(SelectOnGpu, EqualScoresGiveTheFirstRows) {
  for (const std::int64_t n_tokens : {1, 5}) {
    Shape shape{64, 128, 512, n_tokens, 40'002, 1, 1};
    shape.is_zero = true;
    compare(shape);
  }
}

// Of K rows that score alike some are left out, and scores of a few values fill a block's list.
TEST_P(SelectOnGpu, ManyRowsOfEqualScoresAreTakenInOrder) {
  for (const std::int64_t n_kinds : {1, 3, 40, 5'000}) {
    for (const std::int64_t n_tokens : {1, 5}) {
      Shape shape{64, 128, 512, n_tokens, 40'002, 1, 1};
      shape.n_kinds = n_kinds;
      compare(shape);
    }
  }
}

TEST_P(SelectOnGpu, EverySizeOfPageGivesTheSameRows) {
  for (const int rows_per_page : {16, 32, 48, 96}) {
    Shape shape{64, 128, 512, 1, 9'001, 4, 4};
    shape.rows_per_page = rows_per_page;
    compare(shape);
  }
}

TEST_P(SelectOnGpu, ShortContextsGiveAllTheirRows) {
  for (const std::int64_t n_keys : {1, 31, 32, 33, 511, 512, 513, 4'225}) {
    compare({64, 128, 512, 1, n_keys, 1, 1});
  }
}

// The K-th is below 0, or near it: the bound of one token counts positive scores alone.
TEST_P(SelectOnGpu, NegativeScoresAreSelectedToo) {
  for (const float greatest_weight : {-0.1f, 0.2f, 0.5f}) {
    for (const std::int64_t n_keys : {600, 2'048, 9'001, 70'003}) {
      Shape shape{64, 128, 512, 1, n_keys, 1, 1};
      shape.greatest_weight = greatest_weight;
      compare(shape);
    }
  }
}

// More calls than a launch takes, of all lengths, with one of several tokens and one of equal scores among
// them.
TEST_P(SelectOnGpu, SeveralCallsEqualEachAlone) {
  constexpr int kCalls = 37;
  constexpr int kHeads = 64;
  constexpr int kBest = 512;
  const IndexRowFormat format{128};
  const Rows keys(30'011, format, 5, 1);
  for (const int n_calls : {2, 5, kCalls}) {
    std::deque<Rows> queries;
    std::vector<std::vector<float>> weights;
    std::vector<std::vector<std::int32_t>> n_visible;
    for (int i = 0; i < n_calls; ++i) {
      const int n_tokens = i == 3 ? 3 : 1;
      queries.emplace_back(n_tokens * kHeads, format, i % 2 == 0 ? 1 : 5, 10 + i);
      weights.push_back(uniform(n_tokens * kHeads, 50 + i, -0.5f, 1));
      if (i == 2) weights.back().assign(weights.back().size(), 0.0f);
      n_visible.emplace_back(n_tokens, i == 1 || i == 2 ? 30'011 : i * 811);
    }
    const auto run = [&](const TestBackend& backend, bool at_once) {
      std::vector<std::vector<std::int32_t>> out;
      for (const auto& visible : n_visible) out.emplace_back(visible.size() * kBest, -7);
      std::vector<SelectArgs> calls;
      for (int i = 0; i < n_calls; ++i) {
        const std::int64_t n_tokens = std::ssize(n_visible[i]);
        calls.push_back({queries[i].pool.view(), mat(weights[i], n_tokens, kHeads), 0.0110485f,
                         keys.pool.view(), format, n_visible[i], mat(out[i], n_tokens, kBest),
                         GetParam()});
      }
      if (at_once) {
        backend->select_all(calls);
      } else {
        for (const SelectArgs& call : calls) backend->select(call);
      }
      return out;
    };
    const auto want = run(cpu_, false);
    for (const bool at_once : {true, false, true}) {
      const auto got = run(*cuda_, at_once);
      for (int i = 0; i < n_calls; ++i) {
        expect_same_bits(got[i], want[i],
                         "call " + std::to_string(i) + " of " + std::to_string(n_calls));
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Roundings, SelectOnGpu, testing::Values(Rounding::kNone, Rounding::kBf16));

}  // namespace
}  // namespace precis
