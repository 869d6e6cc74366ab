// What the expert kernel promises beyond the operation's own tests: the same bits for every size of tile,
// and weights that it cannot take computed all the same.
#include <algorithm>

#include <gtest/gtest.h>

#include "base/rng.h"
#include "ops/op_test_util.h"

namespace precis {
namespace {

struct Mixture {
  std::int64_t width = 256;
  std::int64_t hidden = 384;
  int n_experts = 20;
  int n_active = 3;
  std::vector<std::array<TestWeight, 3>> experts = {};  // w1, w3, w2; the shared one last

  Mixture() {
    for (int e = 0; e <= n_experts; ++e) {
      const WeightFormat format =
          e == n_experts ? WeightFormat::kFp8Block : WeightFormat::kFp4Group;
      experts.push_back({make_weight(format, hidden, width, Fill::kRandom, 10 * e + 1),
                         make_weight(format, hidden, width, Fill::kRandom, 10 * e + 2),
                         make_weight(format, width, hidden, Fill::kRandom, 10 * e + 3)});
    }
  }

  // Tokens 0 … n - 1, at most `chunk` in a call.
  std::vector<float> run(Backend& backend, std::int64_t n, std::int64_t chunk) const {
    std::vector<std::unique_ptr<Weight>> loaded;
    std::vector<ExpertWeights> weights;
    for (const auto& parts : experts) {
      for (const TestWeight& part : parts) loaded.push_back(backend.load_weight(part.source()));
      const auto* last = &loaded.back();
      weights.push_back({(last - 2)->get(), (last - 1)->get(), last->get()});
    }
    const std::vector<float> x = activations(n * width, 5, 0.01f);
    const std::vector<float> routed = uniform(n * n_active, 6, 0, 1.5f);
    std::vector<std::int32_t> idx;
    for (std::int64_t t = 0; t < n; ++t) {
      std::vector<std::int32_t> chosen = random_ints(n_active, 40 + t, n_experts);
      std::ranges::sort(chosen);
      idx.insert(idx.end(), chosen.begin(), chosen.end());
    }
    std::vector<float> out(n * width);
    for_each_chunk(n, chunk, [&](std::int64_t begin, std::int64_t count) {
      backend.experts({mat(x, n, width).slice_rows(begin, count),
                       mat(idx, n, n_active).slice_rows(begin, count),
                       mat(routed, n, n_active).slice_rows(begin, count),
                       std::span<const ExpertWeights>(weights).first(n_experts), weights.back(), 10,
                       InputQuant::kFp8Group128, InputQuant::kFp8Group128,
                       mat(out, n, width).slice_rows(begin, count), Rounding::kBf16});
    });
    return out;
  }
};

class ExpertsOnGpu : public GpuTest {};

// Tiles of up to 8, 32, 64 and 128 rows, and pieces in both orders.
TEST_F(ExpertsOnGpu, EverySizeOfTileGivesTheSameBits) {
  const Mixture mixture;
  const TestBackend gpu({"cuda", ""});
  constexpr std::int64_t kTokens = 2500;
  const std::vector<float> want = mixture.run(*gpu, kTokens, kTokens);
  expect_same_bits(mixture.run(*gpu, kTokens, kTokens), want, "again");
  for (const std::int64_t chunk : {1100, 700, 130, 70, 20}) {
    expect_same_bits(mixture.run(*gpu, kTokens, chunk), want, "chunk " + std::to_string(chunk));
  }
  constexpr std::int64_t kFew = 40;
  const std::vector<float> few(want.begin(), want.begin() + kFew * mixture.width);
  for (const std::int64_t chunk : {1, 7, 8}) {
    expect_same_bits(mixture.run(*gpu, kFew, chunk), few, "chunk " + std::to_string(chunk));
  }
  expect_norm_within(few, mixture.run(*TestBackend({"ref", ""}), kFew, kFew), 0x1p-8, "ref");
}

// Scales of a row 2^20 apart, and a group of zeros whose scale is farther away.
TEST_F(ExpertsOnGpu, ScalesFarApartAreNoDefect) {
  Mixture mixture;
  TestWeight& zeros = mixture.experts[3][0];
  std::fill_n(zeros.codes.begin() + 5 * zeros.n_in / 2, 16, std::uint8_t{0x80});
  zeros.scales[5 * zeros.n_in / 32] = 1;
  const TestBackend gpu({"cuda", ""});
  const TestBackend ref({"ref", ""});
  constexpr std::int64_t kTokens = 40;
  expect_norm_within(mixture.run(*gpu, kTokens, 40), mixture.run(*ref, kTokens, 40), 0x1p-8,
                     "a far group of zeros");
  mixture.experts[3][0].scales[7] = 104;
  expect_norm_within(mixture.run(*gpu, kTokens, 40), mixture.run(*ref, kTokens, 40), 0x1p-8,
                     "a far group");
}

}  // namespace
}  // namespace precis
