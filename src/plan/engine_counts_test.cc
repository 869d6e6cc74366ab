// What an engine counts while it runs, against the plan of the same tokens.
#include <algorithm>
#include <filesystem>
#include <vector>

#include <gtest/gtest.h>

#include "precis/engine.h"

#include "model/config.h"
#include "plan/definition.h"
#include "plan/v4_work.h"

namespace precis {
namespace {

TEST(EngineCounts, EqualThePlanOfAPromptAndAStep) {
  constexpr std::int64_t kPromptTokens = 333;
  constexpr int kChunk = 64;
  EngineOptions options;
  options.model = std::filesystem::path(PRECIS_MODELS) / "mini";
  options.max_tokens = 1024;
  options.chunk_tokens = kChunk;
  const auto engine = std::move(Engine::open(options)).value();
  const auto session = std::move(engine->new_session()).value();
  EXPECT_TRUE(engine->operation_counts().empty()) << "nothing is counted unasked";

  engine->count_operations();
  ASSERT_TRUE(session->sync(std::vector<TokenId>(kPromptTokens, 5)).ok());
  ASSERT_TRUE(session->step(7).ok());
  FlopByClass counted;
  for (const OperationCount& count : engine->operation_counts()) counted += count.flop;

  const ModelConfig config = load_config(options.model).value();
  Work planned = step_work(config, {}, {1, 1, kPromptTokens, 1});
  // A session makes the logits of every chunk, so that it can be stopped after any.
  for (std::int64_t at = 0; at < kPromptTokens; at += kChunk) {
    planned.add(
        step_work(config, {}, {1, std::min<std::int64_t>(kChunk, kPromptTokens - at), at, 1}));
  }
  const FlopByClass want = by_class(planned.total().flop);
  EXPECT_EQ(counted.products(), want.products());
  EXPECT_EQ(counted.element, want.element);
  EXPECT_EQ(counted.index, want.index);

  engine->count_operations();
  EXPECT_TRUE(engine->operation_counts().empty()) << "a new count begins at nothing";
}

}  // namespace
}  // namespace precis
