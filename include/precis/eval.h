// Long-context evaluation: tasks made from a seed, answered by an engine or an endpoint, scored
// exactly, kept in a directory, summarised with intervals.  docs/eval.md defines every task.
//
//   auto subject = precis::local_subject(*engine, {});
//   auto run = precis::run_eval(options, engine->tokenizer(), **subject, "results");
//   precis::EvalSummary summary = precis::summarise(*run);
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "precis/engine.h"
#include "precis/status.h"
#include "precis/text.h"

namespace precis {

// ---- What is asked ---------------------------------------------------------------------------

enum class PromptForm : std::uint8_t {
  kChat,  // one user turn of the chat encoding; no answer prefix
  kRaw,   // plain text that ends with the start of the answer
};
std::string_view prompt_form_name(PromptForm form);  // "chat", "raw"

/// Whether all needles of a sample lie in one haystack that is read once.
enum class SharedPrefill : std::uint8_t { kNo, kYes };

/// What a summary averages.
enum class EvalMetric : std::uint8_t {
  kExact,     // first line equal to the reference
  kContains,  // share of references that occur in the output
  kRatio,     // similarity of two strings, 0 … 1
  kAccuracy,  // share of tokens predicted
  kNats,      // mean −log p of a token; lower is better
};
std::string_view eval_metric_name(EvalMetric metric);

struct EvalTaskInfo {
  std::string name;
  std::string group;  // "needle", "ruler", "worlds", "items", "mqar", "document"
  std::string description;
  EvalMetric metric = EvalMetric::kExact;
  bool needs_engine = false;    // asked in token numbers or logits, so not through an endpoint
  bool needs_document = false;  // made from the user's own text
  double chance = 0;            // score of guessing among the possible answers
};
/// Every task, in the order of reports.
std::span<const EvalTaskInfo> eval_tasks();

/// The named tasks; "niah,ruler" names groups, "all" everything that needs no document.
///
/// Errors    kInvalidArgument — an unknown name; the message lists the known ones
Result<std::vector<std::string>> parse_eval_tasks(std::string_view names);

/// Words and sentences of the tasks under one name; names in braces are filled in.
struct EvalWording {
  std::string_view name;  // "statements", "held_out_nouns", …
  std::span<const std::string_view> forms;
};
/// All of them.  What is called held_out is for evaluation only: no model of this project is
/// trained on it.
std::span<const EvalWording> eval_wordings();

struct EvalOptions {
  std::vector<std::string> tasks;
  std::vector<std::int64_t> lengths;  // tokens: prompt and allowance together
  std::vector<double> depths;         // percent of the haystack; NIAH and the user's document
  int n_samples = 2;                  // haystacks of a task and length
  std::uint64_t seed = 1;
  PromptForm form = PromptForm::kChat;
  SharedPrefill shared_prefill = SharedPrefill::kYes;
  std::string haystack;       // text; empty: generated prose
  std::string haystack_name;  // as reports call it
  std::string document;       // the user's own text, for tasks that need one
  std::string document_name;
  std::vector<std::pair<std::string, std::string>> notes;  // about the model, for reports
};

// ---- Who answers -----------------------------------------------------------------------------

struct EvalPrompt;
struct EvalReply;

/// Takes the reply to question `question_idx` of the prompt; false stops.
using EvalReplyFn = std::function<Result<void>(std::size_t question_idx, EvalReply reply)>;
/// Whether to go on; called often.
using EvalContinueFn = std::function<bool()>;

/// Something that answers prompts.
///
/// Threads   answer() may be called from max_parallel() threads at once
class EvalSubject {
 public:
  virtual ~EvalSubject() = default;

  /// What reports say about it: ("model", "mini"), ("precision", "release"), …
  virtual std::vector<std::pair<std::string, std::string>> description() const = 0;
  virtual int max_parallel() const = 0;
  /// Longest prompt and answer together; 0 = not known.
  virtual std::int64_t max_tokens() const = 0;
  /// Whether it takes token numbers and gives logits.
  virtual bool has_engine() const = 0;
  /// Seconds spent in the model so far.
  virtual double busy_seconds() const = 0;

  /// Answers the questions `wanted` of `prompt` one after the other.
  ///
  /// Errors    kCancelled — go_on returned false; whatever on_reply returned; kIo, kCorrupt,
  ///           kUnsupported — no usable reply came
  virtual Result<void> answer(const EvalPrompt& prompt, std::span<const std::size_t> wanted,
                              const EvalReplyFn& on_reply, const EvalContinueFn& go_on) = 0;
};

/// Answers by `engine`, which must outlive it: one prefill a prompt, every question from the state
/// behind it.
///
/// Errors    kUnsupported — the tokenizer lacks a token of the chat format; as Engine::new_session
Result<std::unique_ptr<EvalSubject>> local_subject(Engine& engine, PromptForm form);

struct EndpointOptions {
  std::string url;    // https://host/v1, or in full up to …/chat/completions or …/completions
  std::string model;  // as the server calls it
  std::string api_key_env;  // environment variable with the key; empty: none is sent
  bool stream = false;
  int n_parallel = 1;
  int n_retries = 5;
  double timeout_seconds = 600;
  double first_wait_seconds = 1;  // before the first retry; doubles with each
};

/// Answers by an OpenAI-compatible server.
///
/// Errors    kInvalidArgument — a URL that is not http or https, an option out of range
Result<std::unique_ptr<EvalSubject>> endpoint_subject(const EndpointOptions& options,
                                                      PromptForm form);

// ---- Running ---------------------------------------------------------------------------------

/// How often a sparse layer's selection held the source of an answer token.
struct SelectorRecall {
  int layer = 0;
  std::int64_t n_hit = 0;
  std::int64_t n_tokens = 0;
};

/// One question, answered and scored.
struct EvalRecord {
  std::string id;  // "niah/4096/0/50": task, length, sample, depth
  std::string task;
  std::int64_t length = 0;
  int sample = 0;
  double depth = -1;  // percent; negative: the task has none
  std::uint64_t seed = 0;
  std::string prompt_hash;
  std::vector<std::string> references;
  std::string output;
  bool exact = false;
  double contains = 0;
  double score = 0;    // of the task's metric
  std::string detail;  // what a wrong answer turned out to be, where the task can tell
  std::int64_t n_prompt_tokens = 0;
  std::int64_t n_output_tokens = 0;
  double seconds = 0;
  std::vector<SelectorRecall> recall;
};

struct EvalRun {
  std::vector<std::pair<std::string, std::string>> configuration;  // of options and subject
  std::vector<EvalRecord> records;
};
/// The key of a configuration that names the ablation; a run of whole attention has none.
inline constexpr const char* kAblationKey = "ablation";
/// The ablation that a run was made with; "none" for whole attention, and for an endpoint.
std::string eval_ablation(const EvalRun& run);

struct EvalProgress {
  std::int64_t n_done = 0;  // questions, those found in the directory included
  std::int64_t n_total = 0;
  double tokens_done = 0;  // of prompts still to be read at the start
  double tokens_total = 0;
  std::string now;  // "niah 32,768"
};
/// Called before and after every prompt; false stops.
using EvalProgressFn = std::function<bool(const EvalProgress&)>;

struct EvalTiming {
  double total_seconds = 0;
  double generation_seconds = 0;  // making prompts
  double busy_seconds = 0;        // in the model
};

/// Asks every question of `options` that `directory` does not hold yet, and keeps each record
/// there as soon as it is scored.  A last line that was cut off is dropped and asked again.
///
/// `tokenizer` counts lengths; for an endpoint it stands in for the server's own.
/// Errors    kInvalidArgument — an option out of range, a task the subject cannot answer, or a
///           directory with another configuration (the message names what differs); kCorrupt — a
///           line of its results is no record; kCancelled; as EvalSubject::answer, naming the
///           sample.  What was answered stays in the directory.
Result<EvalRun> run_eval(const EvalOptions& options, const Tokenizer& tokenizer,
                         EvalSubject& subject, const std::filesystem::path& directory,
                         const EvalProgressFn& progress = {}, EvalTiming* timing = nullptr);

/// Reads what run_eval() left in a directory.
///
/// Errors    kNotFound, kCorrupt, kIo
Result<EvalRun> load_eval(const std::filesystem::path& directory);

// ---- Results ---------------------------------------------------------------------------------

/// A 95 % interval.
struct Interval {
  double low = 0;
  double high = 0;
};

/// All questions of a task at one length, or at one length and depth.
struct EvalCell {
  std::string task;
  EvalMetric metric = EvalMetric::kExact;
  std::int64_t length = 0;
  double depth = -1;  // negative: all depths but 100 %, which no compressed row serves
  std::int64_t n_questions = 0;
  std::int64_t n_haystacks = 0;
  double score = 0;
  double exact = 0;
  double contains = 0;
  Interval interval;  // of score: the hull of Wilson over questions and bootstrap over haystacks
};

/// The longest length at which, as at all shorter ones, the lower bound passes the threshold.
struct EffectiveContext {
  std::string task;
  double threshold = 0;
  std::int64_t tokens = 0;        // 0: not even the shortest
  std::int64_t tokens_point = 0;  // the same by the score alone
};

/// Selector recall over the questions of a task at one length that were right, or wrong.
struct RecallCell {
  std::string task;
  std::int64_t length = 0;
  bool right = true;
  std::vector<SelectorRecall> layers;
};

/// How often an answer of a task at one length turned out to be this.
struct EvalDetail {
  std::string task;
  std::int64_t length = 0;
  std::string detail;
  std::int64_t n_questions = 0;
};

struct EvalSummary {
  std::vector<EvalCell> cells;        // task × length
  std::vector<EvalCell> depth_cells;  // task × length × depth
  std::vector<EffectiveContext> effective;
  std::vector<RecallCell> recall;
  std::vector<EvalDetail> details;
  std::string disclosure;
};
EvalSummary summarise(const EvalRun& run);

/// Two runs over the questions that both answered.
struct EvalComparison {
  std::string task;
  EvalMetric metric = EvalMetric::kExact;
  std::int64_t length = 0;
  std::int64_t n_questions = 0;
  double score_a = 0;
  double score_b = 0;
  Interval difference;        // of b − a: paired bootstrap over haystacks
  std::int64_t n_only_a = 0;  // right in a alone
  std::int64_t n_only_b = 0;  // right in b alone
  double mcnemar_p = 1;       // two-sided, exact; of the two counts above
};
/// Errors    kInvalidArgument — no common question, or one that was asked with another prompt
Result<std::vector<EvalComparison>> compare_evals(const EvalRun& a, const EvalRun& b);

}  // namespace precis
