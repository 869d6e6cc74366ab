// precis synth: checkpoints of released shapes with random weights, on disk or in memory.
#include <chrono>
#include <cmath>

#include <fmt/format.h>

#include "precis/synthetic.h"

#include "cli/commands.h"
#include "cli/format.h"
#include "cli/json.h"
#include "cli/options.h"
#include "cli/terminal.h"

namespace precis::cli {
namespace {

struct SynthFlags {
  ModelFlags model;
  OutputFlags output;
  std::string directory;
  bool in_memory = false;
};

// What the model answers to a few tokens: whether its numbers stay sensible through all layers.
struct Answer {
  int n_tokens = 0;
  int n_not_finite = 0;
  double logit_spread = 0;
};

constexpr int kTokens = 300;  // past the window, and several compressed rows

Result<Answer> ask_once(Engine& engine) {
  PRECIS_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, engine.new_session());
  std::vector<TokenId> prompt;
  for (int i = 0; i < kTokens; ++i) prompt.push_back(i * 7919 % engine.info().vocab_size);
  PRECIS_TRY(session->sync(prompt));
  Answer answer;
  answer.n_tokens = kTokens;
  double sum = 0;
  double sum_of_squares = 0;
  const std::span<const float> logits = session->logits();
  for (const float logit : logits) {
    if (!std::isfinite(logit)) ++answer.n_not_finite;
    sum += logit;
    sum_of_squares += double{logit} * logit;
  }
  const auto n = static_cast<double>(logits.size());
  answer.logit_spread = std::sqrt(std::max(0.0, sum_of_squares / n - sum / n * sum / n));
  return answer;
}

Json summary_json(const SyntheticSummary& summary, std::uint64_t seed, double seconds) {
  return {{"name", summary.name},
          {"layers", summary.n_layers},
          {"experts", summary.n_experts},
          {"seed", seed},
          {"tensors", summary.n_tensors},
          {"bytes", summary.n_bytes},
          {"parameters", summary.n_parameters},
          {"seconds", seconds}};
}

void print_summary(const SyntheticSummary& summary, double seconds, const std::string& where) {
  fmt::print("{}: {} tensors, {} parameters, {} {} in {} ({:.2f} GB/s)\n", summary.name,
             format_count(summary.n_tensors), format_count(summary.n_parameters),
             format_bytes(summary.n_bytes), where, format_seconds(seconds),
             static_cast<double>(summary.n_bytes) / 1e9 / std::max(seconds, 1e-9));
}

Result<int> make_in_memory(const SynthFlags& flags, EngineOptions options) {
  options.max_tokens = kTokens;
  show_plan_before_load(options, flags.output.progress());
  PRECIS_ASSIGN_OR_RETURN(const SyntheticSummary summary,
                          summarise_synthetic(*options.synthetic, options.model));
  const auto start = std::chrono::steady_clock::now();
  PRECIS_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, Engine::open(options));
  const double seconds = seconds_since(start);
  PRECIS_ASSIGN_OR_RETURN(const Answer answer, ask_once(*engine));
  if (flags.output.json) {
    Json out = summary_json(summary, options.synthetic->seed, seconds);
    out["backend"] = engine->info().backend;
    out["tokens"] = answer.n_tokens;
    out["logits_not_finite"] = answer.n_not_finite;
    out["logit_spread"] = answer.logit_spread;
    print_json(out);
  } else {
    print_summary(summary, seconds, fmt::format("in memory of {}", engine->info().backend));
    fmt::print("after {} tokens: {} logits not finite, spread {:.3g}\n", answer.n_tokens,
               answer.n_not_finite, answer.logit_spread);
  }
  return static_cast<int>(answer.n_not_finite == 0 ? kOk : kTestFailed);
}

Result<int> make(const SynthFlags& flags) {
  if (flags.in_memory == !flags.directory.empty()) {
    return Error{ErrorCode::kInvalidArgument, "want either --output DIR or --in-memory"};
  }
  PRECIS_ASSIGN_OR_RETURN(const EngineOptions options, engine_options(flags.model));
  if (flags.in_memory) return make_in_memory(flags, options);

  const auto start = std::chrono::steady_clock::now();
  const Result<SyntheticSummary> summary = [&] {
    WorkProgress progress(flags.output.progress(), ProgressUnit::kBytes);
    return write_synthetic(
        *options.synthetic, options.model, flags.directory,
        [show = progress.callback()](std::uint64_t done, std::uint64_t total) {
          return show({static_cast<std::int64_t>(done), static_cast<std::int64_t>(total)});
        });
  }();
  if (!summary) return summary.error();
  const double seconds = seconds_since(start);
  if (flags.output.json) {
    Json out = summary_json(*summary, options.synthetic->seed, seconds);
    out["directory"] = flags.directory;
    print_json(out);
  } else {
    print_summary(*summary, seconds, "in " + flags.directory);
  }
  return static_cast<int>(kOk);
}

}  // namespace

void add_synth(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<SynthFlags>();
  CLI::App& command = add_command(
      app, "synth",
      "Makes a checkpoint of a released shape with random weights: true names, dtypes, widths and\n"
      "layers, to measure speed and memory without the real ones.  A tensor's bytes follow from\n"
      "seed, name and shape, on disk as in memory.  The tokenizer is that of the default model.",
      "  precis synth --shape flash --layers 4 --experts 16 -o flash-4\n"
      "  precis synth --shape pro --layers 2 --experts 8 --in-memory --backend cpu\n");
  CLI::Option* shape = command
                           .add_option("--shape", flags->model.synth,
                                       "flash, pro, or mini (the default model's own)")
                           ->required()
                           ->type_name("SHAPE");
  add_synthetic_size_flags(command, flags->model.synthetic, "--seed", shape);
  command.add_flag("--draft-block", flags->model.synthetic.draft_block,
                   "The MTP block too, which sessions do not run");
  command.add_option("-o,--output", flags->directory, "Directory to make; 4 GiB a file")
      ->type_name("DIR");
  command.add_flag("--in-memory", flags->in_memory,
                   "Load it as a model without files, and look at its logits");
  command.add_option("--backend", flags->model.backend, "With --in-memory: auto, cpu, cuda or ref")
      ->capture_default_str()
      ->type_name("NAME");
  add_output_flags(command, flags->output);
  command.callback(
      [flags, &exit_code] { exit_code = exit_code_of(make(*flags), flags->output.format()); });
}

}  // namespace precis::cli
