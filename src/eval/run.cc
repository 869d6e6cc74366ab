// The evaluation loop: which prompts are still to be asked, asking them, keeping what came.
#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_set>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <xxhash.h>

#include "base/clock.h"
#include "base/error.h"
#include "eval/results_file.h"
#include "eval/score.h"
#include "eval/tasks/task.h"

namespace precis {
namespace {

// One prompt to make and ask, and which of its questions lack a record.
struct WorkItem {
  const Task* task = nullptr;
  std::int64_t length = 0;
  int sample = 0;
  std::vector<double> depths;
  std::vector<std::string> ids;
  std::vector<std::size_t> wanted;

  std::string name() const { return fmt::format("{} {}", task->info.name, length); }
};

std::vector<std::string> ids_of(const WorkItem& item) {
  const std::string stem = fmt::format("{}/{}/{}", item.task->info.name, item.length, item.sample);
  if (!item.task->per_depth) return {stem};
  std::vector<std::string> ids;
  for (const double depth : item.depths) ids.push_back(fmt::format("{}/{}", stem, depth));
  return ids;
}

// Shortest first, so that something is known early.
std::vector<WorkItem> all_work(const EvalOptions& options) {
  std::vector<std::int64_t> lengths = options.lengths;
  std::ranges::sort(lengths);
  std::vector<WorkItem> work;
  for (const std::int64_t length : lengths) {
    for (const std::string& name : options.tasks) {
      const Task* task = find_task(name);
      const bool apart = task->per_depth && options.shared_prefill == SharedPrefill::kNo;
      for (int sample = 0; sample < options.n_samples; ++sample) {
        const std::size_t n_prompts = apart ? options.depths.size() : 1;
        for (std::size_t i = 0; i < n_prompts; ++i) {
          WorkItem item{.task = task,
                        .length = length,
                        .sample = sample,
                        .depths = {},
                        .ids = {},
                        .wanted = {}};
          if (apart) {
            item.depths = {options.depths[i]};
          } else if (task->per_depth) {
            item.depths = options.depths;
          }
          item.ids = ids_of(item);
          work.push_back(std::move(item));
        }
      }
    }
  }
  return work;
}

std::string hash_of(std::string_view bytes) {
  return bytes.empty() ? "none" : fmt::format("{:016x}", XXH3_64bits(bytes.data(), bytes.size()));
}

std::string prompt_hash(const EvalPrompt& prompt, const EvalQuestion& question) {
  XXH3_state_t* const state = XXH3_createState();
  XXH3_64bits_reset(state);
  const auto feed = [&](std::string_view bytes) {
    XXH3_64bits_update(state, bytes.data(), bytes.size());
  };
  feed(prompt.context);
  if (prompt.context.empty()) {
    feed({reinterpret_cast<const char*>(prompt.context_tokens.data()),
          prompt.context_tokens.size() * sizeof(TokenId)});
  }
  feed(question.text);
  feed(question.answer_prefix);
  const XXH64_hash_t hash = XXH3_64bits_digest(state);
  XXH3_freeState(state);
  return fmt::format("{:016x}", hash);
}

// Everything that decides what a record says, but its own task, length, sample and depth.
EvalConfiguration configuration_of(const EvalOptions& options, const EvalSubject& subject) {
  EvalConfiguration configuration = subject.description();
  configuration.insert(configuration.end(), options.notes.begin(), options.notes.end());
  const auto add = [&](const char* key, std::string value) {
    configuration.emplace_back(key, std::move(value));
  };
  add("prompt form", std::string(prompt_form_name(options.form)));
  add("haystack", options.haystack.empty() ? "generated prose" : options.haystack_name);
  add("haystack hash", hash_of(options.haystack));
  if (!options.document.empty()) {
    add("document", options.document_name);
    add("document hash", hash_of(options.document));
  }
  add("samples", fmt::format("{}", options.n_samples));
  add("depths", fmt::format("{}", fmt::join(options.depths, ",")));
  add("shared prefill", options.shared_prefill == SharedPrefill::kYes ? "yes" : "no");
  add("seed", fmt::format("{}", options.seed));
  return configuration;
}

Result<void> check_task(const Task& task, const EvalOptions& options, const EvalSubject& subject) {
  if (task.info.needs_engine && !subject.has_engine()) {
    return invalid(
        fmt::format("task {} is asked in token numbers and logits, which an endpoint does not "
                    "take: run it with a model here",
                    task.info.name));
  }
  if (task.info.needs_document && options.document.empty()) {
    return invalid(fmt::format("task {} is made from a text of yours: want --my-document FILE",
                               task.info.name));
  }
  for (const std::int64_t length : options.lengths) {
    if (length < task.min_length) {
      return invalid(fmt::format("task {} needs at least {} tokens, found length {}",
                                 task.info.name, task.min_length, length));
    }
    if (subject.max_tokens() > 0 && length > subject.max_tokens()) {
      return Error{ErrorCode::kBudget, fmt::format("length {} is beyond the context of {} tokens",
                                                   length, subject.max_tokens())};
    }
  }
  return {};
}

// Text shorter than the longest prompt would repeat, and then every needle in it has a double.
Result<void> check_text(std::string_view name, std::string_view text, const EvalOptions& options,
                        const Tokenizer& tokenizer) {
  if (text.empty()) return {};
  const std::int64_t n_tokens = std::ssize(tokenizer.encode(text, SpecialTokens::kAsText));
  const std::int64_t longest = std::ranges::max(options.lengths);
  if (n_tokens >= longest) return {};
  return invalid(
      fmt::format("{} has {} tokens and would repeat in a prompt of {}: want a longer text or "
                  "smaller lengths",
                  name, n_tokens, longest));
}

Result<void> check_options(const EvalOptions& options, const Tokenizer& tokenizer,
                           const EvalSubject& subject) {
  if (options.tasks.empty()) return invalid("no task is named");
  if (options.lengths.empty()) return invalid("no length is given");
  if (options.n_samples < 1) {
    return invalid(fmt::format("samples must be at least 1, found {}", options.n_samples));
  }
  if (options.depths.empty()) return invalid("no depth is given");
  for (std::size_t i = 0; i < options.depths.size(); ++i) {
    const double depth = options.depths[i];
    if (depth < 0 || depth > 100 || (i > 0 && depth <= options.depths[i - 1])) {
      return invalid(fmt::format("depths must ascend from 0 to 100 percent, found {}",
                                 fmt::join(options.depths, ",")));
    }
  }
  bool uses_document = false;
  for (const std::string& name : options.tasks) {
    const Task* task = find_task(name);
    if (task == nullptr) return invalid(fmt::format("no task is called \"{}\"", name));
    PRECIS_TRY(check_task(*task, options, subject));
    uses_document = uses_document || task->info.needs_document;
  }
  PRECIS_TRY(check_text(options.haystack_name, options.haystack, options, tokenizer));
  if (uses_document)
    PRECIS_TRY(check_text(options.document_name, options.document, options, tokenizer));
  return {};
}

// Shares the work among threads; everything that changes is behind one lock.
class Evaluation {
 public:
  Evaluation(const EvalOptions& options, const Tokenizer& tokenizer, EvalSubject& subject,
             ResultsFile& results, std::vector<WorkItem> work, const EvalProgressFn& progress)
      : options_(options),
        tokenizer_(tokenizer),
        subject_(subject),
        results_(results),
        work_(std::move(work)),
        on_progress_(progress) {}

  Result<void> run(EvalProgress start) {
    progress_ = std::move(start);
    const int n_threads =
        std::max(1, std::min(subject_.max_parallel(), static_cast<int>(work_.size())));
    std::vector<std::thread> threads;
    for (int i = 1; i < n_threads; ++i) threads.emplace_back([this] { work_off(); });
    work_off();
    for (std::thread& thread : threads) thread.join();
    if (failure_) return *std::move(failure_);
    return {};
  }

  double generation_seconds() const { return generation_seconds_; }

 private:
  void work_off() {
    for (std::size_t i = next_++; i < work_.size() && !stop_; i = next_++) {
      Result<void> done = ask(work_[i]);
      if (done) continue;
      const std::lock_guard lock(mutex_);
      if (!stop_) failure_ = std::move(done).error().with_context(work_[i].ids.front());
      stop_ = true;
    }
  }

  Result<void> ask(const WorkItem& item) {
    report(item.name());
    const Clock::time_point start = Clock::now();
    const TaskInput input{.options = options_,
                          .tokenizer = tokenizer_,
                          .task = item.task->info.name,
                          .length = item.length,
                          .sample = item.sample,
                          .depths = item.depths};
    const EvalPrompt prompt = item.task->make(input);
    const double seconds = seconds_since(start);
    const auto on_reply = [&](std::size_t question_idx, EvalReply reply) {
      return keep(item, prompt, question_idx, std::move(reply));
    };
    PRECIS_TRY(subject_.answer(prompt, item.wanted, on_reply, [&] { return go_on(); }));
    const std::lock_guard lock(mutex_);
    generation_seconds_ += seconds;
    progress_.tokens_done += static_cast<double>(item.length);
    return results_.sync();
  }

  Result<void> keep(const WorkItem& item, const EvalPrompt& prompt, std::size_t question_idx,
                    EvalReply reply) {
    const EvalQuestion& question = prompt.questions[question_idx];
    Verdict verdict = judge(prompt, question, reply);
    EvalRecord record{.id = item.ids[question_idx],
                      .task = prompt.task,
                      .length = prompt.length,
                      .sample = prompt.sample,
                      .depth = question.depth,
                      .seed = options_.seed,
                      .prompt_hash = prompt_hash(prompt, question),
                      .references = question.references,
                      .output = std::move(reply.text),
                      .exact = verdict.exact,
                      .contains = verdict.contains,
                      .score = verdict.score,
                      .detail = std::move(verdict.detail),
                      .n_prompt_tokens = reply.n_prompt_tokens,
                      .n_output_tokens = reply.n_tokens,
                      .seconds = reply.seconds,
                      .recall = std::move(reply.recall)};
    const std::lock_guard lock(mutex_);
    PRECIS_TRY(results_.append(std::move(record)));
    ++progress_.n_done;
    return {};
  }

  void report(const std::string& name) {
    const std::lock_guard lock(mutex_);
    progress_.now = name;
    if (on_progress_ && !on_progress_(progress_)) cancel();
  }

  bool go_on() {
    const std::lock_guard lock(mutex_);
    if (!stop_ && on_progress_ && !on_progress_(progress_)) cancel();
    return !stop_;
  }

  // Requires the lock.
  void cancel() {
    if (!stop_)
      failure_ = Error{ErrorCode::kCancelled, "stopped; the same command goes on from here"};
    stop_ = true;
  }

  const EvalOptions& options_;
  const Tokenizer& tokenizer_;
  EvalSubject& subject_;
  ResultsFile& results_;
  const std::vector<WorkItem> work_;
  const EvalProgressFn& on_progress_;

  std::mutex mutex_;
  std::atomic<std::size_t> next_ = 0;
  std::atomic<bool> stop_ = false;
  std::optional<Error> failure_;
  EvalProgress progress_;
  double generation_seconds_ = 0;
};

}  // namespace

Result<EvalRun> run_eval(const EvalOptions& options, const Tokenizer& tokenizer,
                         EvalSubject& subject, const std::filesystem::path& directory,
                         const EvalProgressFn& progress, EvalTiming* timing) {
  const Clock::time_point start = Clock::now();
  PRECIS_TRY(check_options(options, tokenizer, subject));
  const EvalConfiguration configuration = configuration_of(options, subject);
  PRECIS_ASSIGN_OR_RETURN(ResultsFile results, ResultsFile::open(directory, configuration));

  std::unordered_set<std::string_view> answered;
  const std::vector<EvalRecord> found = results.records();
  for (const EvalRecord& record : found) answered.insert(record.id);
  EvalProgress first;
  std::vector<WorkItem> work;
  for (WorkItem& item : all_work(options)) {
    for (std::size_t i = 0; i < item.ids.size(); ++i) {
      if (!answered.contains(item.ids[i])) item.wanted.push_back(i);
    }
    first.n_total += std::ssize(item.ids);
    first.n_done += std::ssize(item.ids) - std::ssize(item.wanted);
    if (item.wanted.empty()) continue;
    first.tokens_total += static_cast<double>(item.length);
    work.push_back(std::move(item));
  }

  Evaluation evaluation(options, tokenizer, subject, results, std::move(work), progress);
  const Result<void> done = evaluation.run(std::move(first));
  if (timing != nullptr) {
    *timing = {.total_seconds = seconds_since(start),
               .generation_seconds = evaluation.generation_seconds(),
               .busy_seconds = subject.busy_seconds()};
  }
  if (!done) return done.error();
  return EvalRun{configuration, results.records()};
}

Result<EvalRun> load_eval(const std::filesystem::path& directory) {
  return read_results(directory);
}

}  // namespace precis
