// Flags that several commands share, and what they turn into.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "precis/engine.h"
#include "precis/generate.h"

#include "cli/exit_code.h"
#include "cli/terminal.h"

namespace precis::cli {

/// Flags that open an engine, as they were typed.
struct ModelFlags {
  std::string model;  // empty: the default model
  std::string context;
  std::string chunk;
  std::optional<int> threads;
  std::string backend = "auto";
  std::string mode = "release";
  int host_experts = 0;
  SyntheticModel synthetic;  // used where `synth` names its shape
  std::string synth;
  bool direct = false;
};

struct OutputFlags {
  bool json = false;
  bool quiet = false;

  OutputFormat format() const { return json ? OutputFormat::kJson : OutputFormat::kText; }
  ProgressOutput progress() const {
    return json || quiet ? ProgressOutput::kHide : ProgressOutput::kShow;
  }
};

/// Flags that say how tokens are chosen and when to stop.
struct SamplingFlags {
  SamplingOptions options;
  std::vector<std::string> biases;  // TOKEN:VALUE
  std::vector<std::string> stops;
  std::string max_new_tokens = "512";
};

/// A subcommand whose help ends with `examples`.
CLI::App& add_command(CLI::App& app, const std::string& name, const std::string& description,
                      const std::string& examples);

void add_model_flag(CLI::App& command, ModelFlags& flags);
/// --model and everything else that Engine::open takes.
void add_engine_flags(CLI::App& command, ModelFlags& flags);
/// Random weights of a released shape in place of --model; after add_engine_flags.
void add_synthetic_flags(CLI::App& command, ModelFlags& flags);
/// --layers, --experts and the seed of the weights, as `command` needs them with `shape`.
void add_synthetic_size_flags(CLI::App& command, SyntheticModel& synthetic,
                              const std::string& seed_flag, CLI::Option* shape);
void add_output_flags(CLI::App& command, OutputFlags& flags);
void add_sampling_flags(CLI::App& command, SamplingFlags& flags);

/// The named model, or the default one.
Result<std::filesystem::path> model_path(const ModelFlags& flags);

/// The thread count for Engine::open; 0 where none was given.
///
/// Errors    kInvalidArgument — below 1 or above the processors of this machine
Result<int> thread_count(std::optional<int> threads);

Result<EngineOptions> engine_options(const ModelFlags& flags);
/// Has Engine::open say on stderr what will lie where, before it loads anything on a device.
void show_plan_before_load(EngineOptions& options, ProgressOutput progress);
Result<std::unique_ptr<Engine>> open_engine(EngineOptions options, ProgressOutput progress);
Result<std::unique_ptr<Engine>> open_engine(const ModelFlags& flags, ProgressOutput progress);
Result<GenerateOptions> generate_options(const SamplingFlags& flags);

/// parse_size() that must also fit an int.
Result<int> parse_int_size(std::string_view name, std::string_view text);

}  // namespace precis::cli
