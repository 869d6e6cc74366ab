// A GPU's recorded steps against the same steps launched kernel by kernel: the same bits.
#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "precis/engine.h"
#include "precis/host.h"
#include "precis/session.h"
#include "precis/synthetic.h"

#include "base/rng.h"

namespace precis {
namespace {

using Logits = std::vector<float>;

std::vector<TokenId> tokens(std::int64_t n, std::uint64_t seed) {
  std::vector<TokenId> out;
  for (std::int64_t i = 0; i < n; ++i) {
    out.push_back(static_cast<TokenId>(random_bits(seed, static_cast<std::uint64_t>(i)) % 4096));
  }
  return out;
}

class CudaSteps : public testing::TestWithParam<ComputeMode> {
 protected:
  void SetUp() override {
    const auto devices = list_devices();
    if (!devices.ok() || !devices->front().supported) GTEST_SKIP() << "no GPU";
  }
  static std::unique_ptr<Engine> open(StepLaunch launch,
                                      std::optional<SyntheticModel> synthetic = {}) {
    auto engine = Engine::open({.model = PRECIS_MODELS "/mini",
                                .backend = "cuda",
                                .mode = GetParam(),
                                .n_threads = 1,
                                .max_tokens = 2000,
                                .chunk_tokens = 128,
                                .synthetic = synthetic,
                                .launch = launch});
    EXPECT_TRUE(engine.ok()) << (engine.ok() ? "" : engine.error().message);
    return *std::move(engine);
  }
  static Logits step(Session& session, TokenId token) {
    const auto result = session.step(token);
    EXPECT_TRUE(result.ok()) << result.error().message;
    return {session.logits().begin(), session.logits().end()};
  }
  static void expect_repeated_equals_direct(std::optional<SyntheticModel> synthetic,
                                            const std::vector<TokenId>& prompt,
                                            const std::vector<TokenId>& steps) {
    const auto repeated = open(StepLaunch::kRepeated, synthetic);
    const auto direct = open(StepLaunch::kDirect, synthetic);
    const auto a = std::move(repeated->new_session()).value();
    const auto b = std::move(direct->new_session()).value();
    ASSERT_TRUE(a->sync(prompt).ok());
    ASSERT_TRUE(b->sync(prompt).ok());
    for (const TokenId token : steps) {
      ASSERT_EQ(step(*a, token), step(*b, token)) << "position " << a->position();
    }
  }
};

// The prompt ends so that the steps cross a page, blocks of both ratios and a bound on visible rows.
TEST_P(CudaSteps, RepeatedEqualsDirectBitForBit) {
  expect_repeated_equals_direct({}, tokens(230, 1), tokens(300, 2));
}

TEST_P(CudaSteps, SessionsThatTakeTurnsKeepTheirOwnCaches) {
  const auto engine = open(StepLaunch::kRepeated);
  const auto direct = open(StepLaunch::kDirect);
  const auto a = std::move(engine->new_session()).value();
  const auto b = std::move(engine->new_session()).value();
  const auto want_a = std::move(direct->new_session()).value();
  const auto want_b = std::move(direct->new_session()).value();
  ASSERT_TRUE(b->sync(tokens(140, 3)).ok());
  ASSERT_TRUE(want_b->sync(tokens(140, 3)).ok());
  for (const TokenId token : tokens(20, 4)) {
    ASSERT_EQ(step(*a, token), step(*want_a, token)) << "position " << a->position();
    ASSERT_EQ(step(*b, token), step(*want_b, token)) << "position " << b->position();
  }
}

TEST_P(CudaSteps, GoingBackRepeatsTheSameBits) {
  const auto engine = open(StepLaunch::kRepeated);
  const auto session = std::move(engine->new_session()).value();
  std::vector<TokenId> text = tokens(200, 5);
  ASSERT_TRUE(session->sync(text).ok());
  std::vector<Logits> first;
  for (const TokenId token : tokens(10, 6)) first.push_back(step(*session, token));
  ASSERT_TRUE(session->sync(text).ok());
  std::size_t i = 0;
  for (const TokenId token : tokens(10, 6)) ASSERT_EQ(step(*session, token), first[i++]);
}

// Rows that the host chooses: the same on both backends, whatever the cut into steps.
TEST_P(CudaSteps, AblatedSelectionsEqualTheCpus) {
  for (const Ablation ablation : {Ablation::kRandom, Ablation::kRecent}) {
    const auto rows = [&](const std::string& backend, int chunk_tokens) {
      const auto engine = Engine::open({.model = PRECIS_MODELS "/mini",
                                        .backend = backend,
                                        .mode = GetParam(),
                                        .n_threads = 1,
                                        .max_tokens = 2000,
                                        .chunk_tokens = chunk_tokens,
                                        .ablation = ablation});
      EXPECT_TRUE(engine.ok()) << (engine.ok() ? "" : engine.error().message);
      const auto session = std::move((*engine)->new_session()).value();
      session->observe_selection(Session::Observe::kOn);
      std::vector<std::vector<std::int32_t>> all;
      EXPECT_TRUE(session->sync(tokens(300, 9)).ok());
      for (const TokenId token : tokens(5, 10)) {
        step(*session, token);
        for (const SelectedRows& layer : session->selected_rows()) all.push_back(layer.rows);
      }
      return std::pair(all, Logits(session->logits().begin(), session->logits().end()));
    };
    const auto on_gpu = rows("cuda", 128);
    EXPECT_EQ(on_gpu, rows("cuda", 3));
    EXPECT_EQ(on_gpu.first, rows("cpu", 128).first);
  }
}

// Without rows that the host chooses a step is recorded as ever.
TEST_P(CudaSteps, StepsWithoutCompressedRowsRepeat) {
  for (const Ablation ablation : {Ablation::kWindow, Ablation::kDense, Ablation::kNoHeavy}) {
    std::vector<Logits> got;
    for (const StepLaunch launch : {StepLaunch::kRepeated, StepLaunch::kDirect}) {
      const auto engine = Engine::open({.model = PRECIS_MODELS "/mini",
                                        .backend = "cuda",
                                        .mode = GetParam(),
                                        .n_threads = 1,
                                        .max_tokens = 2000,
                                        .launch = launch,
                                        .ablation = ablation});
      ASSERT_TRUE(engine.ok()) << engine.error().message;
      const auto session = std::move((*engine)->new_session()).value();
      ASSERT_TRUE(session->sync(tokens(300, 9)).ok());
      for (const TokenId token : tokens(30, 10)) got.push_back(step(*session, token));
    }
    for (std::size_t i = 0; i < 30; ++i) ASSERT_EQ(got[i], got[30 + i]) << "step " << i;
  }
}

// The kernels of released widths: four layers, one at least of each kind.
TEST_P(CudaSteps, RepeatedEqualsDirectInTheReleasedShape) {
  expect_repeated_equals_direct(SyntheticModel{"flash", 4, 8}, tokens(120, 7), tokens(20, 8));
}

INSTANTIATE_TEST_SUITE_P(Modes, CudaSteps,
                         testing::Values(ComputeMode::kRelease, ComputeMode::kF32));

}  // namespace
}  // namespace precis
