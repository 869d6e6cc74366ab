// What the parts of `precis eval` share.
#pragma once

#include <filesystem>

#include <CLI/CLI.hpp>

#include "precis/eval.h"

#include "cli/json.h"

namespace precis::cli {

/// Keys of a run's configuration that heat maps draw as lines; their values are plain numbers.
inline constexpr const char* kTrainedLength = "trained length";
inline constexpr const char* kTrainedPositions = "trained positions";

/// precis eval report, compare, tasks, wordings.
void add_eval_report(CLI::App& command, int& exit_code);
void add_eval_compare(CLI::App& command, int& exit_code);
void add_eval_tasks(CLI::App& command, int& exit_code);
void add_eval_wordings(CLI::App& command, int& exit_code);

/// The tables of a run, and heat maps of what was asked by depth.
void print_eval(const EvalRun& run, const EvalSummary& summary);
Json eval_json(const EvalRun& run, const EvalSummary& summary);

/// Draws a heat map, length by depth, for every task that was asked by depth.
///
/// Errors    as write_picture; kInvalidArgument — nothing was asked by depth
Result<void> write_heat_maps(const std::filesystem::path& path, const EvalRun& run,
                             const EvalSummary& summary);

}  // namespace precis::cli
