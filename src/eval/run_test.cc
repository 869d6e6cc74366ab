#include <algorithm>
#include <fstream>
#include <set>

#include <gtest/gtest.h>

#include "precis/engine.h"
#include "precis/eval.h"

#include "eval/eval_test_util.h"

namespace precis {
namespace {

EvalOptions small_options() {
  EvalOptions options;
  options.tasks = {"niah", "w1"};
  options.lengths = {1024, 2048};
  options.depths = {0, 50, 100};
  options.n_samples = 2;
  return options;
}
constexpr std::int64_t kQuestions = 2 * 2 * 3 + 2 * 2;

std::multiset<std::string> ids(const EvalRun& run) {
  std::multiset<std::string> out;
  for (const EvalRecord& record : run.records) out.insert(record.id);
  return out;
}

TEST(RunEval, AsksEverythingOnceAndScoresIt) {
  const ScratchDirectory directory;
  EchoSubject subject;
  const auto run = run_eval(small_options(), mini_tokenizer(), subject, directory.path());
  ASSERT_TRUE(run.ok()) << run.error().message;
  EXPECT_EQ(std::ssize(run->records), kQuestions);
  EXPECT_EQ(std::set<std::string>(subject.asked.begin(), subject.asked.end()).size(), 8U);
  for (const EvalRecord& record : run->records) {
    EXPECT_TRUE(record.exact) << record.id;
    EXPECT_EQ(record.prompt_hash.size(), 16U);
  }
}

// However often it is stopped, whatever was being written: in the end every question has one record.
TEST(RunEval, GoesOnAfterEveryInterruption) {
  const ScratchDirectory directory;
  EvalOptions options = small_options();
  std::multiset<std::string> before;
  for (int stop_at = 1;; stop_at += 2) {
    EchoSubject subject;
    int n_calls = 0;
    const auto run = run_eval(options, mini_tokenizer(), subject, directory.path(),
                              [&](const EvalProgress&) { return ++n_calls < stop_at; });
    const auto kept = load_eval(directory.path());
    ASSERT_TRUE(kept.ok());
    const std::multiset<std::string> now = ids(*kept);
    EXPECT_TRUE(std::includes(now.begin(), now.end(), before.begin(), before.end()));
    EXPECT_EQ(std::set<std::string>(now.begin(), now.end()).size(), now.size());
    EXPECT_EQ(std::ssize(now) - std::ssize(before), std::ssize(subject.asked));
    before = now;
    if (run.ok()) break;
    EXPECT_EQ(run.error().code, ErrorCode::kCancelled);
    std::ofstream(directory.path() / "results.jsonl", std::ios::app) << "{\"id\": \"torn";
    ASSERT_LT(stop_at, 100);
  }
  EXPECT_EQ(std::ssize(before), kQuestions);
}

TEST(RunEval, SeveralThreadsShareTheWork) {
  const ScratchDirectory directory;
  EchoSubject subject;
  subject.n_parallel = 4;
  const auto run = run_eval(small_options(), mini_tokenizer(), subject, directory.path());
  ASSERT_TRUE(run.ok());
  EXPECT_EQ(std::ssize(run->records), kQuestions);
  const std::multiset<std::string> all = ids(*run);
  EXPECT_EQ(std::set<std::string>(all.begin(), all.end()).size(), all.size());
}

TEST(RunEval, LengthsAndTasksMayBeAddedAndSettingsMayNotChange) {
  const ScratchDirectory directory;
  EvalOptions options = small_options();
  EchoSubject subject;
  ASSERT_TRUE(run_eval(options, mini_tokenizer(), subject, directory.path()).ok());
  subject.asked.clear();
  options.lengths = {4096};
  options.tasks = {"w2"};
  const auto more = run_eval(options, mini_tokenizer(), subject, directory.path());
  ASSERT_TRUE(more.ok());
  EXPECT_EQ(subject.asked.size(), 2U);
  EXPECT_EQ(std::ssize(more->records), kQuestions + 2);
  options.seed = 2;
  const auto other = run_eval(options, mini_tokenizer(), subject, directory.path());
  ASSERT_FALSE(other.ok());
  EXPECT_EQ(other.error().code, ErrorCode::kInvalidArgument);
}

TEST(RunEval, RefusesWhatCannotBeAsked) {
  const ScratchDirectory directory;
  const auto message = [&](const std::function<void(EvalOptions&)>& change) {
    EvalOptions options = small_options();
    change(options);
    EchoSubject subject;
    const auto run = run_eval(options, mini_tokenizer(), subject, directory.path());
    return run.ok() ? std::string("accepted") : run.error().message;
  };
  EXPECT_NE(message([](auto& o) { o.tasks = {"logprob"}; }).find("--my-document"),
            std::string::npos);
  EXPECT_NE(message([](auto& o) { o.lengths = {100}; }).find("1024"), std::string::npos);
  EXPECT_NE(message([](auto& o) { o.depths = {50, 0}; }).find("ascend"), std::string::npos);
  EXPECT_NE(message([](auto& o) { o.n_samples = 0; }).find("samples"), std::string::npos);
  EXPECT_NE(message([](auto& o) {
              o.haystack = "Too short.";
              o.haystack_name = "book";
            }).find("book has"),
            std::string::npos);
}

TEST(LocalSubject, TheBundledModelFindsFactsAndItsIndexersTheirRows) {
  auto engine = Engine::open({.model = PRECIS_MODELS "/mini", .max_tokens = 2048});
  ASSERT_TRUE(engine.ok()) << engine.error().message;
  auto subject = local_subject(**engine, PromptForm::kChat);
  ASSERT_TRUE(subject.ok());
  EvalOptions options = small_options();
  options.tasks = {"niah", "mqar_16"};
  options.lengths = {2048};
  options.n_samples = 1;
  const ScratchDirectory directory;
  const auto run = run_eval(options, (*engine)->tokenizer(), **subject, directory.path());
  ASSERT_TRUE(run.ok()) << run.error().message;
  ASSERT_EQ(run->records.size(), 4U);
  for (const EvalRecord& record : run->records) {
    if (record.task != "niah") continue;
    EXPECT_TRUE(record.exact) << record.id << " " << record.output;
    EXPECT_LE(record.n_prompt_tokens, 2048 - 32);
    ASSERT_EQ(record.recall.size(), 2U);
    if (record.depth < 100) {
      EXPECT_EQ(record.recall[0].n_hit, 7) << record.id;
    }
    EXPECT_EQ(record.recall[0].n_tokens, 7);
  }
}

// niah at 2,048 tokens, facts at the start, the middle and the end of the text.
Result<EvalRun> ablated_run(Ablation ablation, const ScratchDirectory& directory) {
  PRECIS_ASSIGN_OR_RETURN(
      const std::unique_ptr<Engine> engine,
      Engine::open({.model = PRECIS_MODELS "/mini", .max_tokens = 2048, .ablation = ablation}));
  PRECIS_ASSIGN_OR_RETURN(const std::unique_ptr<EvalSubject> subject,
                          local_subject(*engine, PromptForm::kChat));
  EvalOptions options = small_options();
  options.tasks = {"niah"};
  options.lengths = {2048};
  return run_eval(options, engine->tokenizer(), *subject, directory.path());
}

// Five windows of 128 reach 635 tokens back: what lies farther is found by compressed rows or not at
// all.
TEST(LocalSubject, WithoutCompressedRowsNothingIsFoundFarBack) {
  const ScratchDirectory directory;
  const auto run = ablated_run(Ablation::kWindow, directory);
  ASSERT_TRUE(run.ok()) << run.error().message;
  ASSERT_EQ(run->records.size(), 6U);
  for (const EvalRecord& record : run->records) {
    if (record.depth < 100) {
      EXPECT_FALSE(record.exact) << record.id << " " << record.output;
    }
    EXPECT_TRUE(record.recall.empty()) << record.id;
  }
}

TEST(LocalSubject, ByRandomRowsLittleIsSelectedOfWhatIsAsked) {
  const ScratchDirectory directory;
  const auto run = ablated_run(Ablation::kRandom, directory);
  ASSERT_TRUE(run.ok()) << run.error().message;
  std::int64_t n_hit = 0;
  std::int64_t n_tokens = 0;
  for (const EvalRecord& record : run->records) {
    if (record.depth == 100) continue;
    EXPECT_FALSE(record.exact) << record.id << " " << record.output;
    for (const SelectorRecall& layer : record.recall) {
      n_hit += layer.n_hit;
      n_tokens += layer.n_tokens;
    }
  }
  // 32 of some 500 rows, and two of them hold a token: one in eight.
  ASSERT_GT(n_tokens, 0);
  EXPECT_LT(3 * n_hit, n_tokens);
}

TEST(RunEval, ResultsOfAnAblationAreNamedAndKeptApart) {
  const ScratchDirectory directory;
  const auto ablated = ablated_run(Ablation::kRandom, directory);
  ASSERT_TRUE(ablated.ok()) << ablated.error().message;
  const auto kept = load_eval(directory.path());
  ASSERT_TRUE(kept.ok());
  EXPECT_EQ(eval_ablation(*kept), "random");
  EXPECT_NE(summarise(*kept).disclosure.find("ablation random"), std::string::npos);
  for (const Ablation other : {Ablation::kNone, Ablation::kWindow}) {
    const auto refused = ablated_run(other, directory);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(refused.error().message.find("ablation \"random\""), std::string::npos)
        << refused.error().message;
  }
  EXPECT_EQ(eval_ablation(EvalRun{}), "none");
}

TEST(Summarise, AveragesAllDepthsButTheWindowsAndNamesTheLongestGoodLength) {
  EvalRun run;
  for (const std::int64_t length : {4096, 8192}) {
    for (int sample = 0; sample < 400; ++sample) {
      for (const double depth : {0.0, 100.0}) {
        EvalRecord record;
        record.task = "niah";
        record.length = length;
        record.sample = sample;
        record.depth = depth;
        record.exact = depth == 0 && (length == 4096 || sample % 10 != 0);
        record.score = record.exact ? 1 : 0;
        record.recall = {{.layer = 2, .n_hit = 1, .n_tokens = 2}};
        run.records.push_back(record);
      }
    }
  }
  const EvalSummary summary = summarise(run);
  ASSERT_EQ(summary.cells.size(), 2U);
  EXPECT_DOUBLE_EQ(summary.cells[0].score, 1);
  EXPECT_DOUBLE_EQ(summary.cells[1].score, 0.9);
  EXPECT_EQ(summary.cells[0].n_questions, 400);
  EXPECT_EQ(summary.depth_cells.size(), 4U);
  ASSERT_EQ(summary.effective.size(), 1U);
  EXPECT_EQ(summary.effective[0].tokens, 4096);
  ASSERT_EQ(summary.recall.size(), 3U);  // right at both lengths, wrong at one
  EXPECT_EQ(summary.recall[0].layers[0].n_tokens, 800);
}

TEST(CompareEvals, PairsQuestionsAndRefusesOtherPrompts) {
  EvalRun a;
  EvalRun b;
  for (int sample = 0; sample < 20; ++sample) {
    EvalRecord record;
    record.id = "niah/4096/" + std::to_string(sample) + "/0";
    record.task = "niah";
    record.length = 4096;
    record.sample = sample;
    record.prompt_hash = "x";
    record.exact = sample >= 8;
    record.score = record.exact ? 1 : 0;
    a.records.push_back(record);
    record.exact = true;
    record.score = 1;
    b.records.push_back(record);
  }
  auto compared = compare_evals(a, b);
  ASSERT_TRUE(compared.ok());
  ASSERT_EQ(compared->size(), 1U);
  EXPECT_EQ((*compared)[0].n_only_b, 8);
  EXPECT_EQ((*compared)[0].n_only_a, 0);
  EXPECT_NEAR((*compared)[0].mcnemar_p, 0.0078125, 1e-9);
  EXPECT_GT((*compared)[0].difference.low, 0.15);
  b.records[3].prompt_hash = "y";
  EXPECT_FALSE(compare_evals(a, b).ok());
  EXPECT_FALSE(compare_evals(a, EvalRun{}).ok());
}

}  // namespace
}  // namespace precis
