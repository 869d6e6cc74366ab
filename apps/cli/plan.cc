// precis plan: what a model will cost at some contexts on some hardware, before it is there.
#include "cli/plan.h"

#include <filesystem>
#include <memory>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "precis/paths.h"

#include "cli/bench.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/format.h"
#include "cli/input.h"
#include "cli/options.h"
#include "cli/plot.h"

namespace precis::cli {
namespace {

struct PlanFlags {
  std::string model = "mini";
  std::string contexts = "8K,128K,1M";
  std::int64_t batch = 1;
  std::string chunk = "8K";
  std::string hardware = "h200";
  int n_gpus = 1;
  bool definitions = false;
  bool json = false;
  std::string plot_file;

  OutputFormat format() const { return json ? OutputFormat::kJson : OutputFormat::kText; }
};

Result<PlanRequest> request_of(const PlanFlags& flags) {
  PlanRequest request;
  request.model = flags.model;
  if (flags.model == "mini") {
    PRECIS_ASSIGN_OR_RETURN(const std::filesystem::path bundled,
                            default_model_path(executable_path()));
    request.model = bundled.string();
  }
  PRECIS_ASSIGN_OR_RETURN(request.contexts, parse_sizes("--ctx", flags.contexts));
  PRECIS_ASSIGN_OR_RETURN(request.chunk_tokens, parse_size("--chunk", flags.chunk));
  PRECIS_ASSIGN_OR_RETURN(request.hardware, resolve_hardware(flags.hardware));
  request.batch = flags.batch;
  request.n_gpus = flags.n_gpus;
  return request;
}

Result<void> show(const PlanFlags& flags) {
  if (!flags.plot_file.empty()) PRECIS_TRY(picture_format(flags.plot_file));
  PRECIS_ASSIGN_OR_RETURN(const PlanRequest request, request_of(flags));
  PRECIS_ASSIGN_OR_RETURN(const Plan plan, make_plan(request));
  if (!flags.plot_file.empty()) {
    PRECIS_ASSIGN_OR_RETURN(const std::vector<Chart> charts, plan_charts(request));
    PRECIS_TRY(write_picture(flags.plot_file, charts));
  }
  const Definitions definitions = flags.definitions ? Definitions::kAll : Definitions::kUsed;
  if (flags.json) {
    print_json(plan_json(request, plan, definitions));
  } else {
    print_plan(request, plan, definitions);
  }
  return {};
}

void add_flags(CLI::App& command, PlanFlags& flags) {
  command
      .add_option("-m,--model", flags.model,
                  fmt::format("{}, mini (the bundled model), or a directory with config.json",
                              fmt::join(model_names(), ", ")))
      ->capture_default_str()
      ->type_name("MODEL");
  command.add_option("--ctx", flags.contexts, "Contexts; 1M is 1,048,576")
      ->capture_default_str()
      ->type_name("TOKENS,…");
  command.add_option("--batch", flags.batch, "Requests decoded together")
      ->capture_default_str()
      ->type_name("N");
  command.add_option("--chunk", flags.chunk, "Tokens of a prefill step")
      ->capture_default_str()
      ->type_name("TOKENS");
  command
      .add_option("--hardware", flags.hardware,
                  "cpu, h100, h200, b200, or a file: of `precis bench machine`, or as "
                  "docs/planner.md describes")
      ->capture_default_str()
      ->type_name("NAME");
  command.add_option("--gpus", flags.n_gpus, "Devices; work and memory are split evenly")
      ->capture_default_str()
      ->type_name("N");
  command.add_flag("--definitions", flags.definitions,
                   "Also the other meanings of \"equivalent FP8 FLOP\"");
  command.add_flag("--json", flags.json, "One JSON object on stdout");
  command
      .add_option("--plot", flags.plot_file,
                  "Also draw work and cache over context for six models from V2 to V4.1")
      ->type_name("FILE.png|.svg");
}

}  // namespace

void add_plan(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<PlanFlags>();
  CLI::App& command = add_command(
      app, "plan",
      "Computes what a model takes before it runs: weights, cache, FLOP and time bounds at\n"
      "given contexts, whether it fits, and how it compares with its predecessors.",
      "  precis plan --model flash --ctx 8K,128K,1M --hardware h200 --gpus 2\n"
      "  precis plan --model pro --ctx 1000000 --definitions\n"
      "  precis plan cost --doc-tokens 1M --questions 50 --price-in 0.14 --price-cached 0.014 "
      "--price-out 0.28\n");
  add_flags(command, *flags);
  command.require_subcommand(0, 1);
  add_plan_cost(command, exit_code);
  command.callback([flags, &command, &exit_code] {
    if (!command.get_subcommands().empty()) return;
    exit_code = exit_code_of(show(*flags), flags->format());
  });
}

}  // namespace precis::cli
