// The parts of `precis plan`: how plans are shown, and which hardware a name or file means.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "precis/planner.h"

#include "cli/json.h"
#include "cli/plot.h"

namespace precis::cli {

/// Whether the other meanings of "equivalent FP8 FLOP" are shown too.
enum class Definitions : std::uint8_t { kUsed, kAll };

Json plan_json(const PlanRequest& request, const Plan& plan, Definitions definitions);
void print_plan(const PlanRequest& request, const Plan& plan, Definitions definitions);

/// A name of the built-in table, a file of `precis bench machine`, or one that read_hardware takes.
/// "cpu" is this machine where it was measured.
///
/// Errors    as find_hardware and read_hardware
Result<Hardware> resolve_hardware(const std::string& name_or_file);

/// Work and cache over context for the built-in models.
///
/// Errors    as make_plan
Result<std::vector<Chart>> plan_charts(const PlanRequest& request);

/// Adds `precis plan cost`.
void add_plan_cost(CLI::App& plan, int& exit_code);

}  // namespace precis::cli
