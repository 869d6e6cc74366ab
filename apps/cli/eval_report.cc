// The results of an evaluation as tables, heat maps and JSON.
#include <algorithm>
#include <charconv>
#include <map>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/commands.h"
#include "cli/eval.h"
#include "cli/exit_code.h"
#include "cli/format.h"
#include "cli/options.h"
#include "cli/plot.h"

namespace precis::cli {
namespace {

bool is_ablated(const EvalRun& run) {
  return eval_ablation(run) != ablation_info(Ablation::kNone).name;
}

// Above the tables of a run that was not made with whole attention.
void print_ablation(const EvalRun& run) {
  if (!is_ablated(run)) return;
  const std::string name = eval_ablation(run);
  const auto known = ablations();
  const auto info = std::ranges::find(known, name, &AblationInfo::name);
  fmt::print("ablation {}{}{}\n\n", name, info == known.end() ? "" : ": ",
             info == known.end() ? std::string_view() : info->effect);
}

// "results/a", with the ablation behind it where there is one.
std::string directory_text(const std::string& directory, const EvalRun& run) {
  if (!is_ablated(run)) return directory;
  return fmt::format("{} (ablation {})", directory, eval_ablation(run));
}

std::string percent(double share) {
  return fmt::format("{:.1f}", 100 * share);
}

std::string score_text(const EvalCell& cell) {
  if (cell.metric == EvalMetric::kNats) {
    return fmt::format("{:.3f} [{:.3f}, {:.3f}]", cell.score, cell.interval.low,
                       cell.interval.high);
  }
  return fmt::format("{} [{}, {}]", percent(cell.score), percent(cell.interval.low),
                     percent(cell.interval.high));
}

double chance_of(std::string_view task) {
  const auto tasks = eval_tasks();
  const auto found = std::ranges::find(tasks, task, &EvalTaskInfo::name);
  return found == tasks.end() ? 0 : found->chance;
}

void print_scores(const EvalSummary& summary) {
  Table table({{"task", Table::Align::kLeft},
               {"tokens"},
               {"measure", Table::Align::kLeft},
               {"score [95 %]"},
               {"exact"},
               {"contains"},
               {"questions"},
               {"haystacks"},
               {"chance"}});
  for (const EvalCell& cell : summary.cells) {
    const bool generated = cell.metric != EvalMetric::kNats && cell.metric != EvalMetric::kAccuracy;
    const double chance = chance_of(cell.task);
    table.add({cell.task, short_size(cell.length), std::string(eval_metric_name(cell.metric)),
               score_text(cell), generated ? percent(cell.exact) : "",
               generated ? percent(cell.contains) : "", format_count(cell.n_questions),
               format_count(cell.n_haystacks), chance > 0 ? percent(chance) : ""});
  }
  fmt::print("{}", table.text());
}

std::string context_text(std::int64_t n_tokens) {
  return n_tokens == 0 ? "none" : short_size(n_tokens);
}

void print_effective(const EvalSummary& summary) {
  if (summary.effective.empty()) return;
  Table table(
      {{"effective context", Table::Align::kLeft}, {"threshold"}, {"proven"}, {"measured"}});
  for (const EffectiveContext& effective : summary.effective) {
    table.add({effective.task, percent(effective.threshold), context_text(effective.tokens),
               context_text(effective.tokens_point)});
  }
  fmt::print("\n{}", table.text());
}

void print_recall(const EvalSummary& summary) {
  if (summary.recall.empty()) return;
  std::vector<Table::Column> columns = {
      {"selector recall", Table::Align::kLeft}, {"tokens"}, {"answers", Table::Align::kLeft}};
  for (const SelectorRecall& layer : summary.recall.front().layers) {
    columns.push_back({fmt::format("layer {}", layer.layer)});
  }
  columns.push_back({"of"});
  Table table(columns);
  for (const RecallCell& cell : summary.recall) {
    std::vector<std::string> row = {cell.task, short_size(cell.length),
                                    cell.right ? "right" : "wrong"};
    std::int64_t n_tokens = 0;
    for (const SelectorRecall& layer : cell.layers) {
      n_tokens = layer.n_tokens;
      row.push_back(n_tokens == 0 ? "-"
                                  : percent(static_cast<double>(layer.n_hit) /
                                            static_cast<double>(layer.n_tokens)));
    }
    row.push_back(format_count(n_tokens));
    if (row.size() == columns.size()) table.add(std::move(row));
  }
  fmt::print("\n{}", table.text());
}

void print_details(const EvalSummary& summary) {
  if (summary.details.empty()) return;
  Table table({{"what came", Table::Align::kLeft},
               {"tokens"},
               {"answer", Table::Align::kLeft},
               {"questions"}});
  for (const EvalDetail& detail : summary.details) {
    table.add(
        {detail.task, short_size(detail.length), detail.detail, format_count(detail.n_questions)});
  }
  fmt::print("\n{}", table.text());
}

struct DepthGrid {
  std::string task;
  std::vector<std::int64_t> lengths;
  std::vector<double> depths;
  std::map<std::pair<double, std::int64_t>, const EvalCell*> cells;
};

std::vector<DepthGrid> depth_grids(const EvalSummary& summary) {
  std::vector<DepthGrid> grids;
  for (const EvalCell& cell : summary.depth_cells) {
    if (grids.empty() || grids.back().task != cell.task) {
      grids.push_back({.task = cell.task, .lengths = {}, .depths = {}, .cells = {}});
    }
    DepthGrid& grid = grids.back();
    grid.lengths.push_back(cell.length);
    grid.depths.push_back(cell.depth);
    grid.cells[{cell.depth, cell.length}] = &cell;
  }
  for (DepthGrid& grid : grids) {
    std::ranges::sort(grid.lengths);
    grid.lengths.erase(std::unique(grid.lengths.begin(), grid.lengths.end()), grid.lengths.end());
    std::ranges::sort(grid.depths);
    grid.depths.erase(std::unique(grid.depths.begin(), grid.depths.end()), grid.depths.end());
  }
  return grids;
}

void print_grid(const DepthGrid& grid) {
  std::vector<Table::Column> columns = {{fmt::format("{}: depth", grid.task), Table::Align::kLeft}};
  for (const std::int64_t length : grid.lengths) columns.push_back({short_size(length)});
  Table table(columns);
  for (const double depth : grid.depths) {
    std::vector<std::string> row = {fmt::format("{} %", depth)};
    for (const std::int64_t length : grid.lengths) {
      const auto found = grid.cells.find({depth, length});
      row.push_back(
          found == grid.cells.end()
              ? "-"
              : fmt::format("{:.0f} ({})", 100 * found->second->score, found->second->n_questions));
    }
    table.add(std::move(row));
  }
  fmt::print("\n{}", table.text());
}

// Where training ended, as far as the run knows and up to the longest length.
std::vector<HeatLine> training_lines(const EvalRun& run, std::int64_t longest) {
  std::vector<HeatLine> lines;
  for (const auto& [key, value] : run.configuration) {
    std::int64_t tokens = 0;
    const char* const end = value.data() + value.size();
    if (key != kTrainedLength && key != kTrainedPositions) continue;
    if (std::from_chars(value.data(), end, tokens).ptr == end && tokens > 0 && tokens <= longest) {
      lines.push_back({.at_tokens = tokens, .label = key});
    }
  }
  return lines;
}

// The part of the disclosure that fits above a picture.
std::string short_disclosure(const EvalRun& run) {
  const auto value = [&](std::string_view key) -> std::string {
    for (const auto& [name, text] : run.configuration) {
      if (name == key) return text;
    }
    return {};
  };
  std::vector<std::string> parts = {value("model")};
  if (const std::string hash = value("model hash"); !hash.empty()) {
    parts.front() += " " + hash.substr(0, 8);
    parts.push_back(value("precision"));
    parts.push_back("k " + value("k"));
  }
  if (is_ablated(run)) parts.push_back("ablation " + eval_ablation(run));
  parts.push_back(value("prompt form"));
  parts.push_back(value("haystack"));
  if (value("shared prefill") == "yes") parts.emplace_back("shared prefill");
  parts.push_back("seed " + value("seed"));
  return fmt::format("{}", fmt::join(parts, ", "));
}

Json cell_json(const EvalCell& cell) {
  Json out = {{"task", cell.task},
              {"metric", eval_metric_name(cell.metric)},
              {"length", cell.length},
              {"score", cell.score},
              {"low", cell.interval.low},
              {"high", cell.interval.high},
              {"exact", cell.exact},
              {"contains", cell.contains},
              {"questions", cell.n_questions},
              {"haystacks", cell.n_haystacks}};
  if (cell.depth >= 0) out["depth"] = cell.depth;
  return out;
}

struct ReportFlags {
  std::string directory;
  std::string plot_file;
  bool json = false;

  OutputFormat format() const { return json ? OutputFormat::kJson : OutputFormat::kText; }
};

Result<void> show_report(const ReportFlags& flags) {
  if (!flags.plot_file.empty()) PRECIS_TRY(picture_format(flags.plot_file));
  PRECIS_ASSIGN_OR_RETURN(const EvalRun run, load_eval(flags.directory));
  const EvalSummary summary = summarise(run);
  if (!flags.plot_file.empty()) PRECIS_TRY(write_heat_maps(flags.plot_file, run, summary));
  if (flags.json) {
    print_json(eval_json(run, summary));
  } else {
    print_eval(run, summary);
  }
  return {};
}

struct CompareFlags {
  std::string a;
  std::string b;
  bool json = false;

  OutputFormat format() const { return json ? OutputFormat::kJson : OutputFormat::kText; }
};

Result<void> show_comparison(const CompareFlags& flags) {
  PRECIS_ASSIGN_OR_RETURN(const EvalRun a, load_eval(flags.a));
  PRECIS_ASSIGN_OR_RETURN(const EvalRun b, load_eval(flags.b));
  PRECIS_ASSIGN_OR_RETURN(const std::vector<EvalComparison> cells, compare_evals(a, b));
  if (flags.json) {
    Json out = {{"a", flags.a},
                {"b", flags.b},
                {"ablation_a", eval_ablation(a)},
                {"ablation_b", eval_ablation(b)},
                {"cells", Json::array()}};
    for (const EvalComparison& cell : cells) {
      out["cells"].push_back({{"task", cell.task},
                              {"metric", eval_metric_name(cell.metric)},
                              {"length", cell.length},
                              {"questions", cell.n_questions},
                              {"score_a", cell.score_a},
                              {"score_b", cell.score_b},
                              {"difference_low", cell.difference.low},
                              {"difference_high", cell.difference.high},
                              {"only_a", cell.n_only_a},
                              {"only_b", cell.n_only_b},
                              {"mcnemar_p", cell.mcnemar_p}});
    }
    print_json(out);
    return {};
  }
  Table table({{"task", Table::Align::kLeft},
               {"tokens"},
               {"A"},
               {"B"},
               {"B - A [95 %]"},
               {"only A right"},
               {"only B right"},
               {"McNemar p"},
               {"questions"}});
  for (const EvalComparison& cell : cells) {
    const double scale = cell.metric == EvalMetric::kNats ? 1 : 100;
    const int digits = cell.metric == EvalMetric::kNats ? 3 : 1;
    const auto number = [&](double x) { return fmt::format("{:.{}f}", scale * x, digits); };
    table.add({cell.task, short_size(cell.length), number(cell.score_a), number(cell.score_b),
               fmt::format("{} [{}, {}]", number(cell.score_b - cell.score_a),
                           number(cell.difference.low), number(cell.difference.high)),
               format_count(cell.n_only_a), format_count(cell.n_only_b),
               fmt::format("{:.3f}", cell.mcnemar_p), format_count(cell.n_questions)});
  }
  fmt::print("A: {}\nB: {}\n\n{}", directory_text(flags.a, a), directory_text(flags.b, b),
             table.text());
  return {};
}

}  // namespace

void print_eval(const EvalRun& run, const EvalSummary& summary) {
  if (run.records.empty()) {
    fmt::print("no results yet\n");
    return;
  }
  print_ablation(run);
  print_scores(summary);
  print_effective(summary);
  for (const DepthGrid& grid : depth_grids(summary)) print_grid(grid);
  print_recall(summary);
  print_details(summary);
  fmt::print("\n{}\n", summary.disclosure);
}

Json eval_json(const EvalRun& run, const EvalSummary& summary) {
  Json out = {{"ablation", eval_ablation(run)},
              {"configuration", Json::object()},
              {"disclosure", summary.disclosure}};
  for (const auto& [key, value] : run.configuration) out["configuration"][key] = value;
  out["cells"] = Json::array();
  for (const EvalCell& cell : summary.cells) out["cells"].push_back(cell_json(cell));
  out["depth_cells"] = Json::array();
  for (const EvalCell& cell : summary.depth_cells) out["depth_cells"].push_back(cell_json(cell));
  out["effective_context"] = Json::array();
  for (const EffectiveContext& effective : summary.effective) {
    out["effective_context"].push_back({{"task", effective.task},
                                        {"threshold", effective.threshold},
                                        {"proven", effective.tokens},
                                        {"measured", effective.tokens_point}});
  }
  out["selector_recall"] = Json::array();
  for (const RecallCell& cell : summary.recall) {
    Json layers = Json::array();
    for (const SelectorRecall& layer : cell.layers) {
      layers.push_back({{"layer", layer.layer}, {"hit", layer.n_hit}, {"tokens", layer.n_tokens}});
    }
    out["selector_recall"].push_back(
        {{"task", cell.task}, {"length", cell.length}, {"right", cell.right}, {"layers", layers}});
  }
  out["details"] = Json::array();
  for (const EvalDetail& detail : summary.details) {
    out["details"].push_back({{"task", detail.task},
                              {"length", detail.length},
                              {"detail", detail.detail},
                              {"questions", detail.n_questions}});
  }
  return out;
}

Result<void> write_heat_maps(const std::filesystem::path& path, const EvalRun& run,
                             const EvalSummary& summary) {
  std::vector<Chart> charts;
  for (const DepthGrid& grid : depth_grids(summary)) {
    HeatMap map;
    const EvalMetric metric = grid.cells.begin()->second->metric;
    map.title =
        fmt::format("{}: {}", grid.task,
                    metric == EvalMetric::kExact ? "exact answers" : "references in the answers");
    map.subtitle = short_disclosure(run);
    map.lines = training_lines(run, grid.lengths.back());
    map.lengths = grid.lengths;
    for (const double depth : grid.depths) {
      map.depths.push_back(depth / 100);
      for (const std::int64_t length : grid.lengths) {
        const auto found = grid.cells.find({depth, length});
        map.cells.push_back(found == grid.cells.end() ? HeatCell{}
                                                      : HeatCell{.value = found->second->score,
                                                                 .n = found->second->n_questions});
      }
    }
    charts.emplace_back(std::move(map));
  }
  if (charts.empty()) {
    return Error{ErrorCode::kInvalidArgument,
                 "nothing was asked by depth, so there is no heat map: want task niah"};
  }
  return write_picture(path, charts);
}

void add_eval_report(CLI::App& eval, int& exit_code) {
  auto flags = std::make_shared<ReportFlags>();
  CLI::App& command = add_command(eval, "report", "Shows the results that a directory holds.",
                                  "  precis eval report results --plot heat_map.png\n");
  command.add_option("DIR", flags->directory, "Directory of `precis eval --out`")->required();
  command.add_option("--plot", flags->plot_file, "Also draw length by depth")
      ->type_name("FILE.png|.svg");
  command.add_flag("--json", flags->json, "One JSON object on stdout");
  command.callback(
      [flags, &exit_code] { exit_code = exit_code_of(show_report(*flags), flags->format()); });
}

void add_eval_compare(CLI::App& eval, int& exit_code) {
  auto flags = std::make_shared<CompareFlags>();
  CLI::App& command =
      add_command(eval, "compare", "Compares two runs over the questions that both answered.",
                  "  precis eval compare results/before results/after\n");
  command.add_option("A", flags->a, "Directory of the first run")->required();
  command.add_option("B", flags->b, "Directory of the second run")->required();
  command.add_flag("--json", flags->json, "One JSON object on stdout");
  command.callback(
      [flags, &exit_code] { exit_code = exit_code_of(show_comparison(*flags), flags->format()); });
}

void add_eval_tasks(CLI::App& eval, int& exit_code) {
  CLI::App& command = add_command(eval, "tasks", "Lists the tasks.", "  precis eval tasks\n");
  command.callback([&exit_code] {
    Table table({{"task", Table::Align::kLeft},
                 {"group", Table::Align::kLeft},
                 {"measure", Table::Align::kLeft},
                 {"what is asked", Table::Align::kLeft}});
    for (const EvalTaskInfo& task : eval_tasks()) {
      table.add(
          {task.name, task.group, std::string(eval_metric_name(task.metric)), task.description});
    }
    fmt::print("{}", table.text());
    exit_code = kOk;
  });
}

void add_eval_wordings(CLI::App& eval, int& exit_code) {
  auto json = std::make_shared<bool>(false);
  CLI::App& command =
      add_command(eval, "wordings", "Prints the sentences and words of all tasks, by name.",
                  "  precis eval wordings\n"
                  "  precis eval wordings --json\n");
  command.add_flag("--json", *json, "One JSON object on stdout");
  command.callback([json, &exit_code] {
    Json out = Json::object();
    for (const EvalWording& wording : eval_wordings()) {
      out[std::string(wording.name)] = wording.forms;
      if (*json) continue;
      fmt::print("{}\n", wording.name);
      for (const std::string_view form : wording.forms) fmt::print("  {}\n", Json(form).dump());
    }
    if (*json) print_json(out);
    exit_code = kOk;
  });
}

}  // namespace precis::cli
