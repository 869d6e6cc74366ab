#include "precis/generate.h"

#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace precis {
namespace {

// The bundled model with a prompt in its cache.
class GenerateTest : public testing::Test {
 protected:
  void open(std::int64_t max_tokens = 256) {
    auto engine = Engine::open({.model = PRECIS_MODELS "/mini", .max_tokens = max_tokens});
    ASSERT_TRUE(engine.ok()) << engine.error().message;
    engine_ = *std::move(engine);
    prompt_ = {engine_->info().bos_token};
    for (const TokenId token : engine_->tokenizer().encode("It was a cold evening in the village,",
                                                           SpecialTokens::kAsText)) {
      prompt_.push_back(token);
    }
    restart();
  }

  void restart() {
    auto session = engine_->new_session();
    ASSERT_TRUE(session.ok()) << session.error().message;
    session_ = *std::move(session);
    ASSERT_TRUE(session_->sync(prompt_).ok());
  }

  // Greedy, from the prompt.
  Generated run(GenerateOptions options, const TextFn& on_text = {}) {
    restart();
    options.sampling.temperature = 0;
    auto generated = generate(*engine_, *session_, options, on_text);
    EXPECT_TRUE(generated.ok());
    return generated.ok() ? *generated : Generated{};
  }

  static std::vector<TokenId> ids(const Generated& generated) {
    std::vector<TokenId> out;
    for (const SampledToken& token : generated.tokens) out.push_back(token.token);
    return out;
  }

  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Session> session_;
  std::vector<TokenId> prompt_;
};

TEST_F(GenerateTest, TextIsWhatTheTokensDecodeTo) {
  open();
  std::string streamed;
  int n_calls = 0;
  const Generated generated = run({.max_new_tokens = 12}, [&](std::string_view text, const auto&) {
    streamed += text;
    ++n_calls;
    return true;
  });
  EXPECT_EQ(generated.finish, FinishReason::kLength);
  ASSERT_EQ(generated.tokens.size(), 12u);
  EXPECT_EQ(n_calls, 12);
  EXPECT_EQ(generated.text, engine_->tokenizer().decode(ids(generated)));
  EXPECT_EQ(streamed, generated.text);
}

TEST_F(GenerateTest, SessionHoldsEveryTokenButTheLast) {
  open();
  const Generated generated = run({.max_new_tokens = 5});
  std::vector<TokenId> expected = prompt_;
  const std::vector<TokenId> made = ids(generated);
  expected.insert(expected.end(), made.begin(), made.end() - 1);
  EXPECT_EQ(std::vector<TokenId>(session_->tokens().begin(), session_->tokens().end()), expected);
}

TEST_F(GenerateTest, NoPartOfAStopStringGetsOut) {
  open();
  const Generated whole = run({.max_new_tokens = 12});
  // A stop string that begins and ends inside tokens.
  const std::string stop = whole.text.substr(whole.text.size() / 2 - 1, 6);
  std::string streamed;
  GenerateOptions options{.max_new_tokens = 12};
  options.stop = {stop};
  const Generated stopped = run(options, [&](std::string_view text, const auto&) {
    streamed += text;
    return true;
  });
  EXPECT_EQ(stopped.finish, FinishReason::kStop);
  EXPECT_EQ(stopped.text, whole.text.substr(0, whole.text.find(stop)));
  EXPECT_EQ(streamed, stopped.text);
}

TEST_F(GenerateTest, StopTokenEndsAndIsNotText) {
  open();
  const Generated whole = run({.max_new_tokens = 6});
  GenerateOptions options{.max_new_tokens = 6};
  options.stop_tokens = {whole.tokens[3].token};
  const Generated stopped = run(options);
  EXPECT_EQ(stopped.finish, FinishReason::kStop);
  ASSERT_LE(stopped.tokens.size(), 4u);
  EXPECT_EQ(stopped.tokens.back().token, whole.tokens[3].token);
  std::vector<TokenId> before = ids(stopped);
  before.pop_back();
  EXPECT_EQ(stopped.text, engine_->tokenizer().decode(before));
}

TEST_F(GenerateTest, CallbackCancels) {
  open();
  const Generated generated = run(
      {.max_new_tokens = 12}, [n = 0](std::string_view, const auto&) mutable { return ++n < 3; });
  EXPECT_EQ(generated.finish, FinishReason::kCancelled);
  EXPECT_EQ(generated.tokens.size(), 3u);
}

TEST_F(GenerateTest, EndOfContextLeavesOneUnsteppedToken) {
  open(20);
  const Generated generated = run({.max_new_tokens = 100});
  EXPECT_EQ(generated.finish, FinishReason::kContext);
  EXPECT_EQ(session_->position(), 20);
  EXPECT_EQ(generated.tokens.size(), 20 - prompt_.size() + 1);
}

TEST_F(GenerateTest, NoTokensWantedMakesNone) {
  open();
  const Generated generated = run({.max_new_tokens = 0});
  EXPECT_EQ(generated.finish, FinishReason::kLength);
  EXPECT_TRUE(generated.tokens.empty());
}

TEST_F(GenerateTest, RefusesOptionsByName) {
  open();
  const auto refusal = [&](const auto& spoil) {
    GenerateOptions options;
    spoil(options);
    const auto generated = generate(*engine_, *session_, options);
    return generated.ok() ? std::string("accepted") : generated.error().message;
  };
  EXPECT_EQ(refusal([](GenerateOptions& options) { options.max_new_tokens = -1; }),
            "max_new_tokens must not be negative, found -1");
  EXPECT_EQ(refusal([](GenerateOptions& options) { options.stop = {""}; }),
            "a stop string must not be empty");
  EXPECT_EQ(refusal([](GenerateOptions& options) { options.sampling.top_p = 2; }),
            "top_p must be between 0 and 1, found 2");
}

}  // namespace
}  // namespace precis
