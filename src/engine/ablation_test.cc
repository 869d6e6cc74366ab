// Ablated attention: what is taken away does not reach the logits, what replaces it follows from seed,
// layer and position alone.
#include "precis/ablation.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "precis/engine.h"
#include "precis/host.h"
#include "precis/session.h"

#include "base/rng.h"
#include "model/model_test_util.h"

namespace precis {
namespace {

using Tokens = std::vector<TokenId>;
using Logits = std::vector<float>;

constexpr int kRows = 32;  // index_topk of the bundled model

struct Setup {
  int chunk_tokens = 128;
  int n_threads = 1;
  std::uint64_t seed = 1;
};

std::unique_ptr<Engine> open(Ablation ablation, const Setup& setup = {}) {
  auto engine = Engine::open({.model = PRECIS_MODELS "/mini",
                              .n_threads = setup.n_threads,
                              .max_tokens = 2000,
                              .chunk_tokens = setup.chunk_tokens,
                              .ablation = ablation,
                              .ablation_seed = setup.seed});
  EXPECT_TRUE(engine.ok()) << (engine.ok() ? "" : engine.error().message);
  return *std::move(engine);
}

Tokens tokens(std::int64_t n) {
  Tokens out;
  for (std::int64_t i = 0; i < n; ++i) {
    out.push_back(static_cast<TokenId>(random_bits(1, static_cast<std::uint64_t>(i)) % 4096));
  }
  return out;
}

std::vector<std::vector<std::int32_t>> rows_of(const Session& session) {
  std::vector<std::vector<std::int32_t>> out;
  for (const SelectedRows& layer : session.selected_rows()) out.push_back(layer.rows);
  return out;
}

struct Seen {
  Logits logits;
  std::vector<std::vector<std::int32_t>> rows;  // of the last token, by sparse layer

  bool operator==(const Seen&) const = default;
};

Seen seen(Session& session) {
  return {{session.logits().begin(), session.logits().end()}, rows_of(session)};
}

Seen after(Engine& engine, const Tokens& prompt) {
  const auto session = std::move(engine.new_session()).value();
  session->observe_selection(Session::Observe::kOn);
  EXPECT_TRUE(session->sync(prompt).ok());
  return seen(*session);
}

Seen after(Ablation ablation, const Tokens& prompt, const Setup& setup = {}) {
  return after(*open(ablation, setup), prompt);
}

TEST(AblatedEngine, ReadsVisibleDifferentRowsAsManyAsTheIndexerSelects) {
  for (const Ablation ablation : {Ablation::kNone, Ablation::kRandom, Ablation::kRecent}) {
    SCOPED_TRACE(ablation_info(ablation).name);
    const auto engine = open(ablation);
    for (const std::int64_t n : {3, 4, 90, 131, 600}) {
      const Seen got = after(*engine, tokens(n));
      ASSERT_EQ(got.rows.size(), 2U);
      for (const auto& rows : got.rows) {
        EXPECT_EQ(std::ssize(rows), std::min<std::int64_t>(kRows, n / 4)) << n;
        EXPECT_EQ(std::set<std::int32_t>(rows.begin(), rows.end()).size(), rows.size()) << n;
        EXPECT_TRUE(std::ranges::all_of(rows, [&](auto r) { return r >= 0 && r < n / 4; })) << n;
      }
    }
  }
}

TEST(AblatedEngine, GivesTheSameBitsForEveryChunkAndThreadCount) {
  const Tokens prompt = tokens(300);
  for (const AblationInfo& info : ablations()) {
    SCOPED_TRACE(info.name);
    const Seen want = after(info.ablation, prompt);
    EXPECT_EQ(after(info.ablation, prompt, {.chunk_tokens = 512}), want);
    EXPECT_EQ(after(info.ablation, prompt, {.chunk_tokens = 29}), want);
    if (available_processors() > 1) {
      EXPECT_EQ(after(info.ablation, prompt, {.chunk_tokens = 50, .n_threads = 2}), want);
    }
  }
}

TEST(AblatedEngine, GoesBackAndStepsToTheSameBits) {
  const Tokens prompt = tokens(420);
  const auto engine = open(Ablation::kRandom);
  const Seen want = after(*engine, prompt);
  const auto session = std::move(engine->new_session()).value();
  session->observe_selection(Session::Observe::kOn);
  ASSERT_TRUE(session->sync(tokens(400)).ok());
  for (int turn = 0; turn < 2; ++turn) {
    while (session->position() < 420) {
      ASSERT_TRUE(session->step(prompt[static_cast<std::size_t>(session->position())]).ok());
    }
    EXPECT_EQ(seen(*session), want);
    ASSERT_TRUE(session->sync(tokens(405)).ok());
  }
}

TEST(AblatedEngine, DrawsOtherRowsForAnotherSeedAndLayer) {
  const Tokens prompt = tokens(420);
  const Seen one = after(Ablation::kRandom, prompt);
  const Seen two = after(Ablation::kRandom, prompt, {.seed = 2});
  EXPECT_NE(one.rows, two.rows);
  EXPECT_NE(one.logits, two.logits);
  EXPECT_NE(one.rows[0], one.rows[1]);
}

// Five layers of a window of 128 reach 5 · 127 = 635 tokens back, and only compressed rows further.
TEST(AblatedEngine, WithoutCompressedRowsNothingComesFromFartherThanTheWindows) {
  const Tokens prompt = tokens(800);
  Tokens other = prompt;
  for (std::size_t i = 0; i < 800 - 1 - 635; ++i) other[i] = (other[i] + 1) % 4096;
  for (const AblationInfo& info : ablations()) {
    const auto engine = open(info.ablation);
    const bool equal = after(*engine, prompt).logits == after(*engine, other).logits;
    EXPECT_EQ(equal, info.ablation == Ablation::kWindow) << info.name;
  }
}

// Before the first block ends there are no compressed rows to take away.
TEST(AblatedEngine, ChangesNothingWhileThereAreNoRows) {
  const Tokens prompt = tokens(3);
  const Logits want = after(Ablation::kNone, prompt).logits;
  for (const AblationInfo& info : ablations()) {
    EXPECT_EQ(after(info.ablation, prompt).logits, want) << info.name;
  }
}

TEST(AblatedEngine, EveryAblationChangesTheLogits) {
  const Tokens prompt = tokens(600);
  std::set<Logits> all;
  for (const AblationInfo& info : ablations()) all.insert(after(info.ablation, prompt).logits);
  EXPECT_EQ(all.size(), ablations().size());
}

// All rows are selected then, and neither the draw nor the indexer leaves any out.
TEST(AblatedEngine, RandomRowsAreTheSelectedOnesWhereFewAreVisible) {
  const Tokens prompt = tokens(4 * kRows);
  Seen plain = after(Ablation::kNone, prompt);
  const Seen random = after(Ablation::kRandom, prompt);
  for (auto& rows : plain.rows) std::ranges::sort(rows);
  EXPECT_EQ(random.rows, plain.rows);
}

TEST(AblatedEngine, IsNeitherSavedNorLoaded) {
  const TemporaryDir dir;
  const auto path = dir.path() / "session";
  const auto whole = open(Ablation::kNone);
  const auto saved = std::move(whole->new_session()).value();
  ASSERT_TRUE(saved->sync(tokens(20)).ok());
  ASSERT_TRUE(saved->save(path).ok());
  const auto ablated = open(Ablation::kWindow);
  const auto session = std::move(ablated->new_session()).value();
  expect_error(session->load(path), ErrorCode::kUnsupported, {"ablation", "window"});
  ASSERT_TRUE(session->sync(tokens(20)).ok());
  expect_error(session->save(dir.path() / "other"), ErrorCode::kUnsupported,
               {"ablation", "window"});
  EXPECT_FALSE(std::filesystem::exists(dir.path() / "other"));
}

}  // namespace
}  // namespace precis
