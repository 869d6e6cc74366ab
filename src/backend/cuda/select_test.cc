// What a GPU has to share with the CPU bit for bit: the selection, for the shapes of released models.
#include <algorithm>

#include <gtest/gtest.h>

#include "backend/registry.h"
#include "base/rng.h"
#include "ops/op_test_util.h"

namespace precis {
namespace {

struct Rows {
  Rows(std::int64_t n, const IndexRowFormat& format, std::uint64_t seed) : pool(n, 64, format) {
    for (std::int64_t row = 0; row < n; ++row) {
      for (int i = 0; i < format.data_bytes(); ++i) {
        pool.view().data(row)[i] = static_cast<std::byte>(random_bits(seed, row * 256 + i) & 0xff);
      }
      for (int i = 0; i < format.scale_bytes(); ++i) {
        pool.view().scales(row)[i] =
            static_cast<std::byte>(120 + random_bits(seed + 1, row * 256 + i) % 9);
      }
    }
  }
  TestPool pool;
};

class SelectOnGpu : public testing::TestWithParam<Rounding> {};

TEST_P(SelectOnGpu, EqualsTheCpuBitForBit) {
  const auto names = backend_names();
  if (std::find(names.begin(), names.end(), "cuda") == names.end()) GTEST_SKIP() << "no GPU";
  for (const auto& [n_heads, width, k] : {std::tuple{64, 128, 512}, {64, 128, 1024}, {4, 64, 32}}) {
    for (const std::int64_t n_tokens : {1, 3, 40}) {
      const std::int64_t n_keys = n_tokens == 40 ? 3'000 : 30'011;
      const IndexRowFormat format{width};
      const Rows keys(n_keys, format, 1);
      const Rows queries(n_tokens * n_heads, format, 2);
      const std::vector<float> weights = uniform(n_tokens * n_heads, 3, -0.5f, 1);
      std::vector<std::int32_t> n_visible;
      for (std::int64_t t = 0; t < n_tokens; ++t) {
        n_visible.push_back(static_cast<std::int32_t>(n_keys - 37 * t));
      }
      const auto run = [&](const char* name) {
        std::vector<std::int32_t> out(n_tokens * k, -7);
        TestBackend({name, ""})
            ->select({queries.pool.view(), mat(weights, n_tokens, n_heads), 0.0110485f,
                      keys.pool.view(), format, n_visible, mat(out, n_tokens, k), GetParam()});
        return out;
      };
      expect_same_bits(run("cuda"), run("cpu"),
                       "heads " + std::to_string(n_heads) + ", k " + std::to_string(k) +
                           ", tokens " + std::to_string(n_tokens));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Roundings, SelectOnGpu, testing::Values(Rounding::kNone, Rounding::kBf16));

}  // namespace
}  // namespace precis
