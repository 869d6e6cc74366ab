// precis bench step: prefill and decode speed of a model at a list of context lengths.
#include <fmt/format.h>

#include "cli/bench.h"
#include "cli/exit_code.h"
#include "cli/format.h"
#include "cli/input.h"
#include "cli/json.h"
#include "cli/options.h"
#include "cli/plot.h"
#include "cli/terminal.h"

namespace precis::cli {
namespace {

struct StepFlags {
  ModelFlags model;
  std::string frontiers = "2K,8K,32K,128K,512K,1M";
  int decode_steps = 32;
  int prefill_chunks = 4;
  std::uint64_t seed = 1;
  std::string json_file;
  std::string plot_file;
  bool quiet = false;
};

Json speed_json(const StepBench& bench, const FrontierSpeed& speed) {
  return {{"bench", "step"},
          {"model", bench.model.name},
          {"backend", bench.model.backend},
          {"isa", bench.model.isa},
          {"threads", bench.model.n_threads},
          {"version", PRECIS_VERSION},
          {"chunk", bench.chunk_tokens},
          {"tokens", speed.n_tokens},
          {"prefill_tokens_timed", speed.n_prefill_timed},
          {"prefill_tok_per_s", speed.prefill_tok_per_s},
          {"prefill_total_s", speed.prefill_total_s},
          {"decode_steps_timed", speed.n_decode_timed},
          {"decode_tok_per_s", speed.decode_tok_per_s()},
          {"decode_p10_us", 1e6 * speed.decode_p10_s},
          {"decode_median_us", 1e6 * speed.decode_median_s},
          {"decode_p90_us", 1e6 * speed.decode_p90_s},
          {"first_decode_median_us", 1e6 * speed.first_decode_median_s},
          {"decode_of_first", speed.decode_of_first()},
          {"resident_bytes", speed.resident_bytes},
          {"peak_resident_bytes", speed.peak_resident_bytes},
          {"kv_bytes", speed.kv_bytes},
          {"kv_bytes_planned", speed.kv_planned.total()}};
}

std::string json_lines(const StepBench& bench) {
  std::string lines;
  for (const FrontierSpeed& speed : bench.speeds) lines += speed_json(bench, speed).dump() + "\n";
  return lines;
}

LogPlot plot_of(const StepBench& bench) {
  const int n_threads = bench.model.n_threads;
  const std::string threads = fmt::format("{} thread{}", n_threads, n_threads == 1 ? "" : "s");
  LogPlot plot{.title = "Speed over context",
               .subtitle = fmt::format("{}, {} {}, {}", bench.model.name, bench.model.backend,
                                       bench.model.isa, threads),
               .x_label = "context (tokens held)",
               .y_label = "tokens a second",
               .x_ticks = {},
               .series = {{"prefill", {}}, {"decode", {}}}};
  for (const FrontierSpeed& speed : bench.speeds) {
    const auto x = static_cast<double>(speed.n_tokens);
    plot.x_ticks.push_back({x, short_size(speed.n_tokens)});
    plot.series[0].points.push_back({x, speed.prefill_tok_per_s});
    plot.series[1].points.push_back({x, speed.decode_tok_per_s()});
  }
  return plot;
}

void print_bench(const StepBench& bench) {
  Table table({{"context"},
               {"prefill tok/s"},
               {"decode tok/s"},
               {"p10 ms"},
               {"p90 ms"},
               {"of first"},
               {"prefill so far"},
               {"KV"},
               {"KV planned"},
               {"resident"}});
  for (const FrontierSpeed& speed : bench.speeds) {
    table.add({short_size(speed.n_tokens), fmt::format("{:.0f}", speed.prefill_tok_per_s),
               fmt::format("{:.1f}", speed.decode_tok_per_s()),
               fmt::format("{:.2f}", 1e3 * speed.decode_p10_s),
               fmt::format("{:.2f}", 1e3 * speed.decode_p90_s),
               fmt::format("{:.0f} %", 100 * speed.decode_of_first()),
               format_seconds(speed.prefill_total_s), format_bytes(speed.kv_bytes),
               format_bytes(speed.kv_planned.total()), format_bytes(speed.resident_bytes)});
  }
  fmt::print("{}\nKV of n tokens: {} + {:.1f} n bytes, in pages of 128 tokens\n", table.text(),
             format_count(bench.plan.kv.fixed()), bench.kv_bytes_per_token);
}

Result<int> measure(const StepFlags& flags) {
  if (!flags.plot_file.empty()) PRECIS_TRY(picture_format(flags.plot_file));
  StepBenchOptions options;
  PRECIS_ASSIGN_OR_RETURN(options.engine, engine_options(flags.model));
  PRECIS_ASSIGN_OR_RETURN(options.frontiers, parse_sizes("--frontiers", flags.frontiers));
  show_plan_before_load(options.engine,
                        flags.quiet ? ProgressOutput::kHide : ProgressOutput::kShow);
  options.decode_steps = flags.decode_steps;
  options.prefill_chunks = flags.prefill_chunks;
  options.seed = flags.seed;
  Result<StepBench> bench = [&] {
    WorkProgress progress(flags.quiet ? ProgressOutput::kHide : ProgressOutput::kShow);
    return bench_step(options, progress.callback());
  }();
  if (!bench) return std::move(bench).error();
  print_bench(*bench);
  if (!flags.json_file.empty()) PRECIS_TRY(write_file(flags.json_file, json_lines(*bench)));
  if (!flags.plot_file.empty()) PRECIS_TRY(write_picture(flags.plot_file, {plot_of(*bench)}));
  return static_cast<int>(kOk);
}

}  // namespace

void add_bench_step(CLI::App& bench, int& exit_code) {
  auto flags = std::make_shared<StepFlags>();
  CLI::App& command = add_command(
      bench, "step",
      "Measures prefill and decode speed of a model just before each of several context\n"
      "lengths, in one run through the longest, with random tokens.  \"of first\" is decoding\n"
      "speed as a share of that at the first length, whose steps are taken in turn with these.",
      "  precis bench step --frontiers 2K,8K,32K\n"
      "  precis bench step --synth flash --layers 4 --experts 32 --backend cuda --frontiers 2K\n"
      "  precis bench step -m DIR --frontiers 2K,128K,1M --json speed.jsonl --plot speed.png\n");
  add_engine_flags(command, flags->model);
  add_synthetic_flags(command, flags->model);
  command.remove_option(command.get_option("--ctx"));  // the last frontier decides
  command.add_option("--frontiers", flags->frontiers, "Context lengths, ascending")
      ->capture_default_str()
      ->type_name("TOKENS,…");
  command.add_option("--decode-steps", flags->decode_steps, "Single tokens timed at each")
      ->capture_default_str();
  command.add_option("--prefill-chunks", flags->prefill_chunks, "Prefill steps timed at each")
      ->capture_default_str();
  command.add_option("--seed", flags->seed, "Of the random tokens")->capture_default_str();
  command.add_option("--json", flags->json_file, "Also write one JSON object a line to this file")
      ->type_name("FILE");
  command.add_option("--plot", flags->plot_file, "Also draw both speeds over context")
      ->type_name("FILE.png|.svg");
  command.add_flag("-q,--quiet", flags->quiet, "No progress on stderr");
  command.callback(
      [flags, &exit_code] { exit_code = exit_code_of(measure(*flags), OutputFormat::kText); });
}

}  // namespace precis::cli
