// The parts of `precis bench`, one function a subcommand; see commands.h.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "precis/bench.h"

namespace precis::cli {

void add_bench_attention(CLI::App& bench, int& exit_code);
void add_bench_machine(CLI::App& bench, int& exit_code);
void add_bench_step(CLI::App& bench, int& exit_code);
void add_bench_profile(CLI::App& bench, int& exit_code);

/// "2K,8K,1M" as numbers.
///
/// Errors    kInvalidArgument — a part that is no size
Result<std::vector<std::int64_t>> parse_sizes(std::string_view name, const std::string& text);

/// The machine of --machine, or of the default place where one is there.
///
/// Errors    as read_machine; without --machine a missing file is no error
Result<std::optional<Machine>> find_machine(const std::string& path);

}  // namespace precis::cli
