// Every task, once: its name, what reports say about it, and who makes its prompts.
#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "eval/frame.h"
#include "eval/tasks/task.h"

namespace precis {
namespace {

constexpr EvalMetric kExact = EvalMetric::kExact;
constexpr EvalMetric kContains = EvalMetric::kContains;

Task text_task(const char* name, const char* group, const char* description, EvalMetric metric,
               MakePrompt make, double chance = 0) {
  return {.info = {.name = name,
                   .group = group,
                   .description = description,
                   .metric = metric,
                   .chance = chance},
          .make = make};
}

std::vector<Task> make_tasks() {
  std::vector<Task> tasks;
  const auto add = [&](Task task) { tasks.push_back(std::move(task)); };

  Task niah =
      text_task("niah", "needle", "one fact in prose, asked for at every depth", kExact, make_niah);
  niah.per_depth = true;
  Task held_out = niah;
  held_out.info.name = "niah_heldout";
  held_out.info.description = "the same in wordings that the bundled model was not trained on";
  add(niah);
  add(held_out);

  const auto ruler = [&](const char* name, const char* description, MakePrompt make) {
    add(text_task(name, "ruler", description, kContains, make));
  };
  ruler("niah_single_1", "a number among five repeated sentences", make_ruler_niah);
  ruler("niah_single_2", "a number in prose", make_ruler_niah);
  ruler("niah_single_3", "a uuid in prose", make_ruler_niah);
  ruler("niah_multikey_1", "one of four keys in prose", make_ruler_niah);
  ruler("niah_multikey_2", "one key where every line is a look-alike", make_ruler_niah);
  ruler("niah_multikey_3", "the same with uuids for keys and values", make_ruler_niah);
  ruler("niah_multivalue", "all four values of one key", make_ruler_niah);
  ruler("niah_multiquery", "the values of four keys in one answer", make_ruler_niah);
  ruler("vt", "all variables along a chain of assignments", make_variable_tracking);
  ruler("cwe", "the ten most common words of a list", make_common_words);
  ruler("fwe", "the three most frequent words of a coded text", make_frequent_words);

  for (const int n_pairs : {16, 64, 256}) {
    Task mqar = text_task("", "mqar", "", EvalMetric::kAccuracy, make_recall_pairs, 1.0 / n_pairs);
    mqar.info.name = fmt::format("mqar_{}", n_pairs);
    mqar.info.description = fmt::format("the values of {} random token pairs", n_pairs);
    mqar.info.needs_engine = true;
    mqar.min_length = 4 * n_pairs + 1;
    add(std::move(mqar));
  }

  const auto world = [&](const char* name, const char* description, double chance) {
    add(text_task(name, "worlds", description, kExact, make_world, chance));
  };
  world("w1", "where a person is", 1.0 / 6);
  world("w2", "where a thing is that was carried and left", 1.0 / 6);
  world("w3", "where a thing was before", 1.0 / 6);
  world("w4", "what lies north of what", 1.0 / 3);
  world("w5", "who gave a thing to whom", 1.0 / 6);
  for (const char n : {'2', '4', '8'}) {
    Task items = text_task("", "items", "", EvalMetric::kRatio, make_items);
    items.info.name = fmt::format("items_{}", n);
    items.info.description = fmt::format("the i-th of {} pieces that answered one request", n);
    add(std::move(items));
  }

  Task document_niah = niah;
  document_niah.info.name = "document_niah";
  document_niah.info.description = "one fact in the user's text, asked for at every depth";
  Task cloze = text_task("document_cloze", "document", "which words follow in the user's text",
                         kContains, make_document_cloze);
  cloze.per_depth = true;
  Task logprob = text_task("logprob", "document",
                           "-log p of the last 256 tokens of the user's text before a length",
                           EvalMetric::kNats, make_logprob);
  logprob.info.needs_engine = true;
  for (Task* task : {&document_niah, &cloze, &logprob}) {
    task->info.group = "document";
    task->info.needs_document = true;
    add(*task);
  }
  return tasks;
}

const std::vector<Task>& all_tasks() {
  static const std::vector<Task> tasks = make_tasks();
  return tasks;
}

}  // namespace

const Task* find_task(std::string_view name) {
  const auto found = std::ranges::find(
      all_tasks(), name, [](const Task& task) -> std::string_view { return task.info.name; });
  return found == all_tasks().end() ? nullptr : &*found;
}

std::span<const EvalTaskInfo> eval_tasks() {
  static const std::vector<EvalTaskInfo> infos = [] {
    std::vector<EvalTaskInfo> list;
    for (const Task& task : all_tasks()) list.push_back(task.info);
    return list;
  }();
  return infos;
}

Result<std::vector<std::string>> parse_eval_tasks(std::string_view names) {
  std::vector<std::string> chosen;
  const auto add = [&](const EvalTaskInfo& info) {
    if (std::ranges::find(chosen, info.name) == chosen.end()) chosen.push_back(info.name);
  };
  while (!names.empty()) {
    const std::string_view name = names.substr(0, names.find(','));
    names.remove_prefix(std::min(names.size(), name.size() + 1));
    bool known = false;
    for (const EvalTaskInfo& info : eval_tasks()) {
      const bool matches =
          name == info.name || name == info.group || (name == "all" && !info.needs_document);
      if (matches) add(info);
      known = known || matches;
    }
    if (known) continue;
    std::vector<std::string_view> list = {"all"};
    for (const EvalTaskInfo& info : eval_tasks()) {
      if (std::ranges::find(list, info.group) == list.end()) list.push_back(info.group);
    }
    for (const EvalTaskInfo& info : eval_tasks()) list.push_back(info.name);
    return Error{ErrorCode::kInvalidArgument, fmt::format("no task is called \"{}\"; there are {}",
                                                          name, fmt::join(list, ", "))};
  }
  return chosen;
}

std::string_view eval_metric_name(EvalMetric metric) {
  switch (metric) {
    case EvalMetric::kExact: return "exact";
    case EvalMetric::kContains: return "contains";
    case EvalMetric::kRatio: return "ratio";
    case EvalMetric::kAccuracy: return "accuracy";
    case EvalMetric::kNats: return "nats";
  }
  return "unknown";
}

EvalPrompt TaskInput::prompt(EvalMetric metric) const {
  EvalPrompt prompt;
  prompt.task = task;
  prompt.metric = metric;
  prompt.length = length;
  prompt.sample = sample;
  return prompt;
}

std::int64_t TaskInput::context_tokens(std::span<const EvalQuestion> questions) const {
  std::int64_t longest = 0;
  for (const EvalQuestion& question : questions) {
    longest =
        std::max(longest, frame_tokens(tokenizer, options.form, question) + question.allowance);
  }
  return length - longest - sample % 4;
}

std::int64_t TaskInput::allowance(std::int64_t n_tokens, std::string_view opening) const {
  if (options.form == PromptForm::kRaw) return n_tokens;
  return n_tokens + std::ssize(tokenizer.encode(opening, SpecialTokens::kAsText));
}

std::vector<Sentence> TaskInput::haystack(std::int64_t n_tokens) const {
  const std::uint64_t seed =
      stream_seed(options.seed, "haystack", static_cast<std::uint64_t>(sample));
  const std::string& text =
      find_task(task)->info.needs_document ? options.document : options.haystack;
  if (text.empty()) return generated_prose(tokenizer, seed, n_tokens);
  return sentences_of(tokenizer, text, random_unit(seed, 0), n_tokens);
}

}  // namespace precis
