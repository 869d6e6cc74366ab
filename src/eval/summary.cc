// From records to what reports print: cells with intervals, effective contexts, selector recall.
#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/check.h"
#include "eval/statistics.h"
#include "eval/tasks/task.h"

namespace precis {
namespace {

// eval.md's marks: single facts are to be found practically always; the RULER mean has a public
// pass mark; other tasks are held to a share of their own score at the shortest length.
constexpr double kNeedleThreshold = 0.99;
constexpr double kRulerThreshold = 0.856;
constexpr double kOwnShare = 0.85;
constexpr double kNoCompressedRow = 100;  // percent: this depth lies within the sliding window

const std::vector<std::string>& averaged_tasks(std::string_view average) {
  static const std::vector<std::string> nine = {
      "niah_single_1",   "niah_single_2",   "niah_single_3",
      "niah_multikey_1", "niah_multikey_2", "niah_multikey_3",
      "niah_multivalue", "niah_multiquery", "vt"};
  static const std::vector<std::string> eleven = [] {
    std::vector<std::string> list = nine;
    list.insert(list.end(), {"cwe", "fwe"});
    return list;
  }();
  return average == "avg-9" ? nine : eleven;
}

EvalMetric metric_of(std::string_view task) {
  const Task* found = find_task(task);
  return found == nullptr ? EvalMetric::kContains : found->info.metric;
}

// Position of a task in reports: the registry's order, averages last.
std::size_t order_of(std::string_view task) {
  const auto tasks = eval_tasks();
  return static_cast<std::size_t>(std::ranges::find(tasks, task, &EvalTaskInfo::name) -
                                  tasks.begin());
}

EvalCell cell_of(const std::vector<const EvalRecord*>& records) {
  EvalCell cell;
  cell.task = records.front()->task;
  cell.metric = metric_of(cell.task);
  cell.length = records.front()->length;
  cell.n_questions = std::ssize(records);
  std::map<int, std::vector<double>> by_haystack;
  for (const EvalRecord* record : records) {
    by_haystack[record->sample].push_back(record->score);
    cell.score += record->score;
    cell.exact += record->exact ? 1 : 0;
    cell.contains += record->contains;
  }
  const auto n = static_cast<double>(records.size());
  cell.score /= n;
  cell.exact /= n;
  cell.contains /= n;
  cell.n_haystacks = std::ssize(by_haystack);
  std::vector<std::vector<double>> groups;
  for (auto& [sample, scores] : by_haystack) groups.push_back(std::move(scores));
  cell.interval = bootstrap_interval(groups);
  if (cell.metric != EvalMetric::kNats) {
    // A few haystacks without a miss would prove everything by the bootstrap alone.
    const Interval wilson = wilson_interval(cell.score, cell.n_questions);
    cell.interval = {std::min(cell.interval.low, wilson.low),
                     std::max(cell.interval.high, wilson.high)};
  }
  return cell;
}

// The mean of the named tasks at each length that has them all; the interval of independent parts.
std::vector<EvalCell> average_cells(const std::vector<EvalCell>& cells, std::string_view average) {
  const std::vector<std::string>& tasks = averaged_tasks(average);
  std::map<std::int64_t, std::vector<const EvalCell*>> by_length;
  for (const EvalCell& cell : cells) {
    if (std::ranges::find(tasks, cell.task) != tasks.end()) by_length[cell.length].push_back(&cell);
  }
  std::vector<EvalCell> out;
  for (const auto& [length, parts] : by_length) {
    if (parts.size() != tasks.size()) continue;
    EvalCell cell;
    cell.task = average;
    cell.metric = EvalMetric::kContains;
    cell.length = length;
    double below = 0;
    double above = 0;
    for (const EvalCell* part : parts) {
      cell.n_questions += part->n_questions;
      cell.n_haystacks += part->n_haystacks;
      cell.score += part->score;
      cell.exact += part->exact;
      cell.contains += part->contains;
      below += (part->score - part->interval.low) * (part->score - part->interval.low);
      above += (part->interval.high - part->score) * (part->interval.high - part->score);
    }
    const auto n = static_cast<double>(parts.size());
    cell.score /= n;
    cell.exact /= n;
    cell.contains /= n;
    cell.interval = {cell.score - std::sqrt(below) / n,
                     std::min(1.0, cell.score + std::sqrt(above) / n)};
    out.push_back(std::move(cell));
  }
  return out;
}

double threshold_of(const std::vector<const EvalCell*>& cells) {
  const EvalCell& shortest = *cells.front();
  if (shortest.task.starts_with("avg-")) return kRulerThreshold;
  const Task* task = find_task(shortest.task);
  if (task != nullptr && (task->info.group == "needle" || task->info.name == "document_niah"))
    return kNeedleThreshold;
  return kOwnShare * shortest.score;
}

std::vector<EffectiveContext> effective_contexts(const std::vector<EvalCell>& cells) {
  std::vector<EffectiveContext> out;
  for (std::size_t begin = 0; begin < cells.size();) {
    std::vector<const EvalCell*> of_task;
    for (; begin < cells.size() && (of_task.empty() || cells[begin].task == of_task[0]->task);
         ++begin) {
      of_task.push_back(&cells[begin]);
    }
    // A task that fails at the shortest length has no context to speak of.
    if (of_task[0]->metric == EvalMetric::kNats || of_task[0]->score == 0) continue;
    EffectiveContext effective{.task = of_task[0]->task,
                               .threshold = threshold_of(of_task),
                               .tokens = 0,
                               .tokens_point = 0};
    for (const EvalCell* cell : of_task) {
      if (cell->score < effective.threshold) break;
      effective.tokens_point = cell->length;
    }
    for (const EvalCell* cell : of_task) {
      if (cell->interval.low < effective.threshold) break;
      effective.tokens = cell->length;
    }
    out.push_back(effective);
  }
  return out;
}

std::vector<RecallCell> recall_cells(const EvalRun& run) {
  std::map<std::tuple<std::size_t, std::int64_t, bool>, RecallCell> cells;
  for (const EvalRecord& record : run.records) {
    if (record.recall.empty() || record.depth == kNoCompressedRow) continue;
    const bool right = record.exact || record.contains == 1;
    RecallCell& cell = cells[{order_of(record.task), record.length, !right}];
    cell.task = record.task;
    cell.length = record.length;
    cell.right = right;
    cell.layers.resize(record.recall.size());
    for (std::size_t l = 0; l < record.recall.size(); ++l) {
      cell.layers[l].layer = record.recall[l].layer;
      cell.layers[l].n_hit += record.recall[l].n_hit;
      cell.layers[l].n_tokens += record.recall[l].n_tokens;
    }
  }
  std::vector<RecallCell> out;
  for (auto& [key, cell] : cells) out.push_back(std::move(cell));
  return out;
}

std::vector<EvalDetail> detail_counts(const EvalRun& run) {
  std::map<std::tuple<std::size_t, std::int64_t, std::string>, EvalDetail> counts;
  for (const EvalRecord& record : run.records) {
    if (record.detail.empty()) continue;
    EvalDetail& count = counts[{order_of(record.task), record.length, record.detail}];
    count = {.task = record.task,
             .length = record.length,
             .detail = record.detail,
             .n_questions = count.n_questions + 1};
  }
  std::vector<EvalDetail> out;
  for (auto& [key, count] : counts) out.push_back(std::move(count));
  return out;
}

std::string disclosure_of(const EvalRun& run) {
  std::vector<std::string> parts;
  for (const auto& [key, value] : run.configuration) {
    if (key == "haystack hash" && value == "none") continue;
    parts.push_back(fmt::format("{} {}", key, value));
  }
  return fmt::format("{}", fmt::join(parts, "; "));
}

}  // namespace

std::string eval_ablation(const EvalRun& run) {
  for (const auto& [key, value] : run.configuration) {
    if (key == kAblationKey) return value;
  }
  return std::string(ablation_info(Ablation::kNone).name);
}

EvalSummary summarise(const EvalRun& run) {
  using Key = std::tuple<std::size_t, std::int64_t, double>;
  std::map<Key, std::vector<const EvalRecord*>> by_length;
  std::map<Key, std::vector<const EvalRecord*>> by_depth;
  for (const EvalRecord& record : run.records) {
    const std::size_t order = order_of(record.task);
    if (record.depth >= 0) by_depth[{order, record.length, record.depth}].push_back(&record);
    if (record.depth != kNoCompressedRow) by_length[{order, record.length, -1}].push_back(&record);
  }
  EvalSummary summary;
  for (const auto& [key, records] : by_length) summary.cells.push_back(cell_of(records));
  for (const auto& [key, records] : by_depth) {
    summary.depth_cells.push_back(cell_of(records));
    summary.depth_cells.back().depth = std::get<2>(key);
  }
  for (const std::string_view average : {"avg-9", "avg-11"}) {
    const std::vector<EvalCell> more = average_cells(summary.cells, average);
    summary.cells.insert(summary.cells.end(), more.begin(), more.end());
  }
  summary.effective = effective_contexts(summary.cells);
  summary.recall = recall_cells(run);
  summary.details = detail_counts(run);
  summary.disclosure = disclosure_of(run);
  return summary;
}

Result<std::vector<EvalComparison>> compare_evals(const EvalRun& a, const EvalRun& b) {
  struct Pairs {
    EvalComparison comparison;
    std::map<int, std::vector<double>> differences;  // by haystack
  };
  std::map<std::string, const EvalRecord*> of_b;
  for (const EvalRecord& record : b.records) of_b[record.id] = &record;
  std::map<std::pair<std::size_t, std::int64_t>, Pairs> cells;
  for (const EvalRecord& one : a.records) {
    const auto found = of_b.find(one.id);
    if (found == of_b.end()) continue;
    const EvalRecord& other = *found->second;
    if (one.prompt_hash != other.prompt_hash) {
      return Error{
          ErrorCode::kInvalidArgument,
          fmt::format("{} was asked with prompt {} in one run and {} in the other: want the same "
                      "seed, haystack, prompt form and tokenizer",
                      one.id, one.prompt_hash, other.prompt_hash)};
    }
    Pairs& pairs = cells[{order_of(one.task), one.length}];
    EvalComparison& cell = pairs.comparison;
    cell.task = one.task;
    cell.metric = metric_of(one.task);
    cell.length = one.length;
    ++cell.n_questions;
    cell.score_a += one.score;
    cell.score_b += other.score;
    const bool right_a = one.exact || one.contains == 1;
    const bool right_b = other.exact || other.contains == 1;
    cell.n_only_a += right_a && !right_b ? 1 : 0;
    cell.n_only_b += right_b && !right_a ? 1 : 0;
    pairs.differences[one.sample].push_back(other.score - one.score);
  }
  if (cells.empty()) {
    return Error{ErrorCode::kInvalidArgument, "the two runs have no question in common"};
  }
  std::vector<EvalComparison> out;
  for (auto& [key, pairs] : cells) {
    EvalComparison& cell = pairs.comparison;
    cell.score_a /= static_cast<double>(cell.n_questions);
    cell.score_b /= static_cast<double>(cell.n_questions);
    std::vector<std::vector<double>> groups;
    for (auto& [sample, differences] : pairs.differences) groups.push_back(std::move(differences));
    cell.difference = bootstrap_interval(groups);
    cell.mcnemar_p = mcnemar_p(cell.n_only_a, cell.n_only_b);
    out.push_back(std::move(cell));
  }
  return out;
}

}  // namespace precis
