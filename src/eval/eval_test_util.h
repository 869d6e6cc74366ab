// What the tests of src/eval share: the bundled tokenizer, a directory, a subject without a model.
#pragma once

#include <filesystem>
#include <functional>
#include <mutex>
#include <string>

#include <gtest/gtest.h>
#include <unistd.h>

#include "eval/prompt.h"

namespace precis {

inline const Tokenizer& mini_tokenizer() {
  static const Tokenizer tokenizer =
      std::move(Tokenizer::load(PRECIS_MODELS "/mini/tokenizer.json")).value();
  return tokenizer;
}

/// A directory that goes with the test.
class ScratchDirectory {
 public:
  ScratchDirectory() {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    path_ =
        std::filesystem::temp_directory_path() / (std::string(test->test_suite_name()) + "_" +
                                                  test->name() + "_" + std::to_string(getpid()));
    std::filesystem::remove_all(path_);
  }
  ~ScratchDirectory() { std::filesystem::remove_all(path_); }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// Answers with the reference, and keeps what it was asked.
class EchoSubject : public EvalSubject {
 public:
  std::vector<std::pair<std::string, std::string>> description() const override {
    return {{"model", "echo"}};
  }
  int max_parallel() const override { return n_parallel; }
  std::int64_t max_tokens() const override { return 0; }
  bool has_engine() const override { return true; }
  double busy_seconds() const override { return 0; }
  Result<void> answer(const EvalPrompt& prompt, std::span<const std::size_t> wanted,
                      const EvalReplyFn& on_reply, const EvalContinueFn& go_on) override {
    for (const std::size_t i : wanted) {
      if (!go_on()) return Error{ErrorCode::kCancelled, "stopped"};
      EvalReply reply;
      if (!prompt.questions[i].references.empty()) reply.text = prompt.questions[i].references[0];
      reply.values.assign(prompt.targets.size(), 1);
      {
        const std::lock_guard lock(mutex_);
        asked.push_back(prompt.task + "/" + std::to_string(prompt.sample) + "/" +
                        std::to_string(i));
      }
      PRECIS_TRY(on_reply(i, std::move(reply)));
    }
    return {};
  }

  int n_parallel = 1;
  std::vector<std::string> asked;

 private:
  std::mutex mutex_;
};

}  // namespace precis
