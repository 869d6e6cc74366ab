// Every route to a position gives the same bits; every refusal leaves the session as it was.
#include "precis/session.h"

#include <cerrno>
#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "precis/engine.h"

#include "base/file.h"
#include "base/rng.h"
#include "model/model_test_util.h"

namespace precis {
namespace {

using Tokens = std::vector<TokenId>;
using Logits = std::vector<float>;

constexpr std::int64_t kContext = 1000;

class SessionTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { engine_ = open(kContext, ComputeMode::kRelease).release(); }
  static void TearDownTestSuite() {
    delete engine_;
    engine_ = nullptr;
  }

  static std::unique_ptr<Engine> open(std::int64_t max_tokens, ComputeMode mode) {
    auto engine = Engine::open({.model = PRECIS_MODELS "/mini",
                                .mode = mode,
                                .n_threads = 1,
                                .max_tokens = max_tokens,
                                .chunk_tokens = 128});
    EXPECT_TRUE(engine.ok()) << (engine.ok() ? "" : engine.error().message);
    return *std::move(engine);
  }
  static std::unique_ptr<Session> new_session(Engine& engine = *engine_) {
    auto session = engine.new_session();
    EXPECT_TRUE(session.ok());
    return *std::move(session);
  }
  static Tokens tokens(std::int64_t n, std::uint64_t seed = 1) {
    Tokens out;
    for (std::int64_t i = 0; i < n; ++i) {
      out.push_back(static_cast<TokenId>(random_bits(seed, static_cast<std::uint64_t>(i)) % 4096));
    }
    return out;
  }
  static Logits logits_of(const Session& session) {
    return {session.logits().begin(), session.logits().end()};
  }
  static Tokens tokens_of(const Session& session) {
    return {session.tokens().begin(), session.tokens().end()};
  }
  static void must(const Result<void>& result) {
    ASSERT_TRUE(result.ok()) << result.error().message;
  }
  // What a session that knows nothing else gives after `prompt`.
  static Logits fresh(const Tokens& prompt) {
    const auto session = new_session();
    must(session->sync(prompt));
    return logits_of(*session);
  }

  static Engine* engine_;
};

Engine* SessionTest::engine_ = nullptr;

TEST_F(SessionTest, IsEmptyAtFirst) {
  const auto session = new_session();
  EXPECT_EQ(session->position(), 0);
  EXPECT_TRUE(session->logits().empty());
  EXPECT_TRUE(session->tokens().empty());
  EXPECT_EQ(session->max_tokens(), kContext);
}

TEST_F(SessionTest, StepEqualsSync) {
  const Tokens prompt = tokens(300);
  const auto session = new_session();
  must(session->sync(std::span(prompt).first(150)));
  for (std::size_t i = 150; i < 300; ++i) must(session->step(prompt[i]));
  EXPECT_EQ(tokens_of(*session), prompt);
  EXPECT_EQ(logits_of(*session), fresh(prompt));
}

TEST_F(SessionTest, StepsFromNothingEqualSync) {
  const Tokens prompt = tokens(40);
  const auto session = new_session();
  for (const TokenId token : prompt) must(session->step(token));
  EXPECT_EQ(logits_of(*session), fresh(prompt));
}

TEST_F(SessionTest, ExtensionReusesWhatIsThere) {
  const Tokens prompt = tokens(400);
  const auto session = new_session();
  for (const std::size_t n : {1UL, 3UL, 127UL, 128UL, 129UL, 256UL, 300UL, 400UL}) {
    must(session->sync(std::span(prompt).first(n)));
    EXPECT_EQ(session->position(), static_cast<std::int64_t>(n));
  }
  EXPECT_EQ(logits_of(*session), fresh(prompt));
  EXPECT_EQ(session->stats().n_computed, 400);
  EXPECT_EQ(session->stats().n_replayed, 0);
}

TEST_F(SessionTest, SamePromptAgainComputesNothing) {
  const Tokens prompt = tokens(200);
  const auto session = new_session();
  must(session->sync(prompt));
  const Logits before = logits_of(*session);
  must(session->sync(prompt));
  EXPECT_EQ(logits_of(*session), before);
  EXPECT_EQ(session->stats().n_computed, 200);
}

TEST_F(SessionTest, GoingBackEqualsNeverHavingGoneOn) {
  const Tokens prompt = tokens(420);
  const auto session = new_session();
  must(session->sync(prompt));
  for (const std::size_t n : {419UL, 300UL, 257UL, 256UL, 129UL, 128UL, 127UL, 5UL, 1UL}) {
    const Tokens shorter(prompt.begin(), prompt.begin() + static_cast<std::ptrdiff_t>(n));
    must(session->sync(shorter));
    EXPECT_EQ(tokens_of(*session), shorter);
    EXPECT_EQ(logits_of(*session), fresh(shorter)) << n;
  }
}

TEST_F(SessionTest, DivergingPromptKeepsTheCommonPart) {
  const Tokens first = tokens(260, 1);
  const auto session = new_session();
  must(session->sync(std::span(first).first(200)));
  must(session->sync(first));
  Tokens second(first.begin(), first.begin() + 230);
  const Tokens other = tokens(100, 2);
  second.insert(second.end(), other.begin(), other.end());
  must(session->sync(second));
  EXPECT_EQ(logits_of(*session), fresh(second));
  // 260 of the first, then from the point kept at 200: 130 of the second.
  EXPECT_EQ(session->stats().n_computed, 260 + 130);
  EXPECT_EQ(session->stats().n_replayed, 30);

  const Tokens unrelated = tokens(50, 3);
  must(session->sync(unrelated));
  EXPECT_EQ(logits_of(*session), fresh(unrelated));
}

TEST_F(SessionTest, RegenerationStartsFromThePromptWithoutReplay) {
  const Tokens prompt = tokens(200);
  const auto session = new_session();
  must(session->sync(prompt));
  const Logits before = logits_of(*session);
  for (const TokenId token : tokens(20, 5)) must(session->step(token));
  must(session->sync(prompt));
  EXPECT_EQ(logits_of(*session), before);
  EXPECT_EQ(session->stats().n_replayed, 0);
  EXPECT_EQ(session->stats().n_computed, 220);
}

TEST_F(SessionTest, CancelledSyncHoldsAPrefixAndCanGoOn) {
  const Tokens prompt = tokens(500);
  const auto session = new_session();
  std::vector<std::int64_t> done;
  expect_error(session->sync(prompt,
                             [&](const Progress& progress) {
                               EXPECT_EQ(progress.total_tokens, 500);
                               done.push_back(progress.done_tokens);
                               return done.size() < 2;
                             }),
               ErrorCode::kCancelled, {"256", "500"});
  EXPECT_EQ(done, (std::vector<std::int64_t>{128, 256}));
  EXPECT_EQ(tokens_of(*session), Tokens(prompt.begin(), prompt.begin() + 256));
  EXPECT_EQ(logits_of(*session), fresh(tokens_of(*session)));
  must(session->sync(prompt));
  EXPECT_EQ(logits_of(*session), fresh(prompt));
  EXPECT_EQ(session->stats().n_computed, 500);
}

TEST_F(SessionTest, RefusedPromptsLeaveTheSessionAsItWas) {
  const Tokens prompt = tokens(30);
  const auto session = new_session();
  must(session->sync(prompt));
  const Logits before = logits_of(*session);

  expect_error(session->sync({}), ErrorCode::kInvalidArgument, {"empty"});
  expect_error(session->sync(tokens(kContext + 7)), ErrorCode::kBudget, {"1007", "1000"});
  Tokens bad = prompt;
  for (const TokenId id : {-1, 4096, INT32_MAX, INT32_MIN}) {
    bad[12] = id;
    expect_error(session->sync(bad), ErrorCode::kInvalidArgument,
                 {"token 12", "4095", std::to_string(id)});
    expect_error(session->step(id), ErrorCode::kInvalidArgument, {std::to_string(id)});
  }
  EXPECT_EQ(tokens_of(*session), prompt);
  EXPECT_EQ(logits_of(*session), before);
}

TEST_F(SessionTest, FullContextRefusesOneMoreStep) {
  const auto engine = open(64, ComputeMode::kRelease);
  const auto session = new_session(*engine);
  const Tokens prompt = tokens(64);
  must(session->sync(prompt));
  expect_error(session->step(1), ErrorCode::kBudget, {"65", "64"});
  EXPECT_EQ(session->position(), 64);
  must(session->sync(std::span(prompt).first(63)));
  must(session->step(prompt[63]));
  EXPECT_EQ(logits_of(*session), fresh(prompt));
}

TEST_F(SessionTest, SelectionsOfTheLastTokenAreRecordedWhereAskedFor) {
  const Tokens prompt = tokens(300);
  const auto session = new_session();
  must(session->sync(prompt));
  EXPECT_TRUE(session->selected_rows().empty());
  const Logits unobserved = logits_of(*session);

  const auto observed = new_session();
  observed->observe_selection(Session::Observe::kOn);
  must(observed->sync(prompt));
  EXPECT_EQ(logits_of(*observed), unobserved);
  ASSERT_EQ(observed->selected_rows().size(), 2u);
  int layer = 2;
  for (const SelectedRows& selected : observed->selected_rows()) {
    EXPECT_EQ(selected.layer, layer);
    layer += 2;
    EXPECT_EQ(selected.ratio, 4);
    ASSERT_EQ(selected.rows.size(), 32u);  // index_topk, of 75 rows
    ASSERT_EQ(selected.mass.size(), 32u);
    float sum = 0;
    for (std::size_t i = 0; i < 32; ++i) {
      EXPECT_GE(selected.rows[i], 0);
      EXPECT_LT(selected.rows[i], 75);
      EXPECT_GE(selected.mass[i], 0);
      sum += selected.mass[i];
    }
    EXPECT_GT(sum, 0);
    EXPECT_LE(sum, 4.0F * 1.001F);  // at most 1 a head
  }
  must(observed->step(5));
  EXPECT_EQ(observed->selected_rows().size(), 2u);
}

TEST_F(SessionTest, ShortPromptSelectsTheRowsThereAre) {
  const auto session = new_session();
  session->observe_selection(Session::Observe::kOn);
  must(session->sync(tokens(11)));
  for (const SelectedRows& selected : session->selected_rows()) {
    EXPECT_EQ(selected.rows.size(), 2u);
    EXPECT_EQ(selected.mass.size(), 2u);
  }
}

TEST_F(SessionTest, SessionsOfOneEngineTakeTurnsWithoutMixing) {
  const Tokens first = tokens(200, 1);
  const Tokens second = tokens(180, 2);
  const auto a = new_session();
  const auto b = new_session();
  must(a->sync(std::span(first).first(130)));
  must(b->sync(std::span(second).first(90)));
  must(a->sync(first));
  must(b->sync(second));
  EXPECT_EQ(logits_of(*a), fresh(first));
  EXPECT_EQ(logits_of(*b), fresh(second));
}

TEST_F(SessionTest, KvBytesAreThePlannedOnes) {
  const auto session = new_session();
  for (const std::int64_t n : {1, 127, 128, 129, 300}) {
    must(session->sync(tokens(n)));
    EXPECT_EQ(session->stats().kv_bytes, engine_->plan(n).kv.total()) << n;
    EXPECT_LE(session->stats().frontier_bytes, engine_->plan(n).frontiers) << n;
  }
}

TEST_F(SessionTest, SavedSessionGoesOnWithTheSameBits) {
  const TemporaryDir dir;
  const auto path = dir.path() / "saved";
  const Tokens prompt = tokens(333);
  const auto session = new_session();
  must(session->sync(prompt));
  must(session->save(path));

  const auto other = new_session();
  must(other->sync(tokens(700, 9)));
  must(other->load(path));
  EXPECT_EQ(tokens_of(*other), prompt);
  EXPECT_EQ(logits_of(*other), logits_of(*session));
  for (const TokenId token : tokens(140, 6)) {
    must(session->step(token));
    must(other->step(token));
  }
  EXPECT_EQ(logits_of(*other), logits_of(*session));
  must(other->sync(prompt));  // back to the point of the load
  EXPECT_EQ(logits_of(*other), fresh(prompt));
  const Tokens shorter(prompt.begin(), prompt.begin() + 200);  // and before it
  must(other->sync(shorter));
  EXPECT_EQ(logits_of(*other), fresh(shorter));
}

TEST_F(SessionTest, RefusedLoadsLeaveTheSessionAsItWas) {
  const TemporaryDir dir;
  const auto path = dir.path() / "saved";
  const auto session = new_session();
  expect_error(session->save(path), ErrorCode::kInvalidArgument, {"empty"});
  EXPECT_FALSE(std::filesystem::exists(path));
  must(session->sync(tokens(100)));
  must(session->save(path));

  const auto f32_engine = open(kContext, ComputeMode::kF32);
  const auto f32_session = new_session(*f32_engine);
  expect_error(f32_session->load(path), ErrorCode::kUnsupported, {"release", "f32"});
  const auto short_engine = open(99, ComputeMode::kRelease);
  const auto short_session = new_session(*short_engine);
  must(short_session->sync(tokens(20)));
  expect_error(short_session->load(path), ErrorCode::kBudget, {"100", "99"});
  EXPECT_EQ(logits_of(*short_session), fresh(tokens(20)));
  expect_error(session->load(dir.path() / "absent"), ErrorCode::kNotFound, {"absent"});
  std::filesystem::resize_file(path, 5000);
  expect_error(session->load(path), ErrorCode::kCorrupt, {"5000"});
  EXPECT_EQ(logits_of(*session), fresh(tokens(100)));
}

TEST_F(SessionTest, FullDiskLeavesNothingHalfWritten) {
  const TemporaryDir dir;
  const auto session = new_session();
  must(session->sync(tokens(50)));
  {
    const ScopedWriteFault full_disk(10'000, ENOSPC);
    expect_error(session->save(dir.path() / "saved"), ErrorCode::kIo, {"saved"});
  }
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
  must(session->step(1));
}

TEST(Engine, OptionsOutOfRangeAreRefusedByName) {
  const auto open = [](const EngineOptions& options) {
    const auto engine = Engine::open(options);
    return engine.ok() ? Result<void>{} : Result<void>{engine.error()};
  };
  const std::filesystem::path mini = PRECIS_MODELS "/mini";
  expect_error(open({.model = mini, .n_threads = -1}), ErrorCode::kInvalidArgument,
               {"threads", "-1"});
  expect_error(open({.model = mini, .n_threads = 100'000}), ErrorCode::kInvalidArgument,
               {"threads", "100000"});
  expect_error(open({.model = mini, .max_tokens = -5}), ErrorCode::kInvalidArgument, {"ctx", "-5"});
  expect_error(open({.model = mini, .max_tokens = 1'048'577}), ErrorCode::kInvalidArgument,
               {"1048576", "1048577"});
  expect_error(open({.model = mini, .chunk_tokens = 100'000}), ErrorCode::kInvalidArgument,
               {"chunk", "100000"});
  expect_error(open({.model = mini, .backend = "tpu"}), ErrorCode::kInvalidArgument, {"tpu"});
}

}  // namespace
}  // namespace precis
