// bench_ops: every operation at the shapes of the bundled model, V4-Flash and V4-Pro, one JSON
// object a line.  Nothing is computed for its result: weights and rows are random.
#include <algorithm>
#include <cstdio>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "precis/bench.h"
#include "precis/host.h"

#include "backend/registry.h"
#include "base/threads.h"
#include "bench/op_cases.h"
#include "bench/timing.h"
#include "commit.h"
#include "engine/bench_machine.h"

namespace precis::bench {
namespace {

struct Flags {
  std::vector<std::string> models = {"mini", "flash", "pro"};
  std::vector<std::int64_t> tokens = {1, 16, 64, 512};
  std::vector<std::int64_t> contexts = {2 << 10, 32 << 10, 128 << 10, 1 << 20};
  std::vector<std::string> ops;
  std::string backend = "cpu";
  std::string machine;
  int n_threads = 0;
  double min_seconds = 0.2;
};

bool wanted(const Flags& flags, const OpRecipe& recipe) {
  return flags.ops.empty() || std::ranges::find(flags.ops, recipe.op) != flags.ops.end();
}

nlohmann::ordered_json record(const ModelShape& model, const OpRecipe& recipe, const OpCase& op,
                              const Times& times, double bound) {
  nlohmann::ordered_json shape;
  for (const auto& [letter, value] : recipe.shape) shape[letter] = value;
  return {{"op", recipe.op},
          {"part", recipe.part},
          {"model", model.name},
          {"shape", shape},
          {"dtype", recipe.dtype},
          {"cache", model.cache == CacheState::kWarm ? "warm" : "cold"},
          {"n", times.n},
          {"p10_us", 1e6 * times.p10_s},
          {"median_us", 1e6 * times.median_s},
          {"p90_us", 1e6 * times.p90_s},
          {"flop", op.cost.flop.total()},
          {"bytes", op.cost.bytes},
          {"bound_us", 1e6 * bound},
          {"of_bound", bound / times.median_s}};
}

// Cold operands come from memory, whatever their size.
double working_set(const ModelShape& model, const Cost& cost) {
  return model.cache == CacheState::kCold ? 1e18 : cost.bytes;
}

Result<void> run(const Flags& flags) {
  PRECIS_ASSIGN_OR_RETURN(
      const Machine machine,
      read_machine(flags.machine.empty() ? default_machine_path()
                                         : std::filesystem::path(flags.machine)));
  const int n_threads = flags.n_threads == 0 ? available_processors() : flags.n_threads;
  ThreadPool threads(n_threads);
  PRECIS_ASSIGN_OR_RETURN(const std::unique_ptr<Backend> backend,
                          make_backend(flags.backend, threads));
  Timer timer({.min_seconds = flags.min_seconds});
  for (const ModelShape& model : kModelShapes) {
    if (std::ranges::find(flags.models, model.name) == flags.models.end()) continue;
    for (const std::int64_t n_tokens : flags.tokens) {
      for (const OpRecipe& recipe : recipes(model, n_tokens, flags.contexts)) {
        if (!wanted(flags, recipe)) continue;
        const OpCase op = recipe.make(*backend);
        PRECIS_ASSIGN_OR_RETURN(const Peak peak, peak_of(machine, backend->isa(), n_threads,
                                                         working_set(model, op.cost)));
        const Times times = timer.time(op.run, model.cache);
        auto line = record(model, recipe, op, times, bound_s(op.cost, peak));
        line["backend"] = backend->name();
        line["isa"] = backend->isa();
        line["threads"] = n_threads;
        line["device"] = machine.processor;
        line["commit"] = kMeasuredCommit;
        fmt::print("{}\n", line.dump());
        std::fflush(stdout);
      }
    }
  }
  return {};
}

int main_with(int argc, char** argv) {
  Flags flags;
  CLI::App app(
      "bench_ops measures every operation and prints one JSON object a line.\n"
      "Run `precis bench machine` first: of_bound is judged by what it stored.");
  app.add_option("--models", flags.models, "mini, flash, pro")
      ->delimiter(',')
      ->check(CLI::IsMember({"mini", "flash", "pro"}))
      ->capture_default_str();
  app.add_option("--tokens", flags.tokens, "T of a step")
      ->delimiter(',')
      ->check(CLI::Range(1, 8192))
      ->capture_default_str();
  app.add_option("--contexts", flags.contexts, "Positions held, for select and attend")
      ->delimiter(',')
      ->check(CLI::Range(128, 1 << 20))
      ->capture_default_str();
  app.add_option("--ops", flags.ops, "Only these operations (default: all)")->delimiter(',');
  app.add_option("--backend", flags.backend, "cpu or ref (bench_gpu is for GPUs)")
      ->check(CLI::IsMember({"cpu", "ref"}))
      ->capture_default_str();
  app.add_option("--threads", flags.n_threads, "Threads (default: every processor)")
      ->check(CLI::Range(1, available_processors()));
  app.add_option("--machine", flags.machine, "File of `precis bench machine`");
  app.add_option("--min-seconds", flags.min_seconds, "Time all calls of an operation at least")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  if (const Result<void> done = run(flags); !done) {
    fmt::print(stderr, "bench_ops: {}\n", done.error().message);
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace precis::bench

int main(int argc, char** argv) {
  return precis::bench::main_with(argc, argv);
}
