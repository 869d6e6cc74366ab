// precis bench attention: one layer of V4's attention and of those before it, side by side.
#include <algorithm>

#include <fmt/format.h>

#include "precis/lineage.h"

#include "cli/bench.h"
#include "cli/exit_code.h"
#include "cli/format.h"
#include "cli/json.h"
#include "cli/options.h"
#include "cli/plot.h"

namespace precis::cli {
namespace {

struct AttentionFlags {
  std::string kinds = "dense-mha,gqa,mla,dsa,nsa,swa,csa,hca,v4";
  std::string shape = "flash";
  std::optional<int> heads;
  std::optional<int> head_dim;
  std::string contexts = "8K,128K,1M";
  std::string chunk = "16";
  std::string memory = "2048M";
  std::string backend = "auto";
  std::optional<int> threads;
  std::uint64_t seed = 1;
  std::string machine;
  std::string plot_file;
  OutputFlags output;
};

std::vector<std::string> split_kinds(const std::string& text) {
  std::vector<std::string> kinds;
  if (text == "all") {
    for (const AttentionKind& kind : attention_kinds()) kinds.push_back(kind.name);
    return kinds;
  }
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    kinds.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return kinds;
}

Result<AttentionShape> shape_of(const AttentionFlags& flags) {
  const bool custom = flags.shape == "custom";
  if (custom != flags.heads.has_value() || custom != flags.head_dim.has_value()) {
    return Error{ErrorCode::kInvalidArgument,
                 custom ? "--shape custom: want --heads and --head-dim as well"
                        : "--heads and --head-dim: want --shape custom with them, found --shape " +
                              flags.shape};
  }
  return custom ? custom_attention_shape(*flags.heads, *flags.head_dim)
                : attention_shape(flags.shape);
}

Result<AttentionBenchOptions> options_of(const AttentionFlags& flags) {
  AttentionBenchOptions options;
  options.kinds = split_kinds(flags.kinds);
  PRECIS_ASSIGN_OR_RETURN(options.shape, shape_of(flags));
  PRECIS_ASSIGN_OR_RETURN(options.contexts, parse_sizes("--ctx", flags.contexts));
  PRECIS_ASSIGN_OR_RETURN(options.chunk_tokens, parse_size("--tokens", flags.chunk));
  PRECIS_ASSIGN_OR_RETURN(options.memory_bytes, parse_size("--memory", flags.memory));
  PRECIS_ASSIGN_OR_RETURN(options.n_threads, thread_count(flags.threads));
  options.backend = flags.backend;
  options.seed = flags.seed;
  return options;
}

std::string json_line(const AttentionBench& bench, const AttentionFigure& figure) {
  return Json{{"bench", "attention"},
              {"shape", bench.shape.name},
              {"heads", bench.shape.n_heads},
              {"backend", bench.backend},
              {"isa", bench.isa},
              {"threads", bench.n_threads},
              {"version", PRECIS_VERSION},
              {"kind", figure.kind},
              {"context", figure.context},
              {"tokens", figure.n_tokens},
              {"source", source_name(figure.source)},
              {"runs", figure.n_runs},
              {"seconds", figure.seconds},
              {"flop", figure.flop},
              {"bytes", figure.bytes},
              {"bound_s", figure.bound_s},
              {"of_bound", figure.of_bound()},
              {"cache_bytes_per_token", figure.cache_bytes_per_token},
              {"cache_bytes", figure.cache_bytes}}
      .dump();
}

std::string in_units(double n) {
  for (const auto& [unit, size] : {std::pair{"T", 1e12}, {"G", 1e9}, {"M", 1e6}, {"k", 1e3}}) {
    if (n >= size) return fmt::format("{:.3g} {}", n / size, unit);
  }
  return fmt::format("{:.3g}", n);
}

void print_figures(const AttentionBench& bench) {
  using Align = Table::Align;
  fmt::print("one layer, {} heads ({}), {} {}, {} thread{}\n\n", bench.shape.n_heads,
             bench.shape.name, bench.backend, bench.isa, bench.n_threads,
             bench.n_threads == 1 ? "" : "s");
  Table table({{"kind", Align::kLeft},
               {"context"},
               {"tokens"},
               {"ms"},
               {"flop"},
               {"bytes"},
               {"of bound"},
               {"cache B/token"},
               {"cache"},
               {"source", Align::kLeft}});
  for (const AttentionFigure& f : bench.figures) {
    const bool ran = f.source != AttentionFigure::Source::kComputed;
    table.add({f.kind, short_size(f.context), format_count(f.n_tokens),
               ran ? fmt::format("{:.4g}", 1e3 * f.seconds) : "-", in_units(f.flop),
               in_units(f.bytes), f.of_bound() > 0 ? fmt::format("{:.2f}", f.of_bound()) : "-",
               fmt::format("{:.6g}", f.cache_bytes_per_token),
               format_bytes(static_cast<std::int64_t>(f.cache_bytes)),
               std::string(source_name(f.source))});
  }
  fmt::print("{}", table.text());
}

LogPlot plot_of(const AttentionBench& bench, const std::string& title, const std::string& y_label,
                const std::function<double(const AttentionFigure&)>& y) {
  LogPlot plot{.title = title,
               .subtitle = fmt::format("{} heads ({}), {} {}, {} threads", bench.shape.n_heads,
                                       bench.shape.name, bench.backend, bench.isa, bench.n_threads),
               .x_label = "context (tokens held)",
               .y_label = y_label,
               .x_ticks = {},
               .series = {}};
  for (const AttentionFigure& figure : bench.figures) {
    if (!(y(figure) > 0)) continue;
    const auto x = static_cast<double>(figure.context);
    if (plot.series.empty() || plot.series.back().name != figure.kind) {
      plot.series.push_back({figure.kind, {}});
    }
    plot.series.back().points.push_back({x, y(figure)});
    if (std::ranges::find(plot.x_ticks, x, &PlotTick::at) == plot.x_ticks.end()) {
      plot.x_ticks.push_back({x, short_size(figure.context)});
    }
  }
  std::ranges::sort(plot.x_ticks, {}, &PlotTick::at);
  return plot;
}

std::vector<Chart> charts_of(const AttentionBench& bench) {
  const auto of_step = [](const AttentionFigure& figure, bool decode, double value) {
    return (figure.n_tokens == 1) == decode ? value : 0;
  };
  std::vector<Chart> charts;
  for (LogPlot plot :
       {plot_of(bench, "One token, one layer", "milliseconds",
                [&](const AttentionFigure& f) { return of_step(f, true, 1e3 * f.seconds); }),
        plot_of(bench, "A prefill chunk, one layer", "milliseconds a token",
                [&](const AttentionFigure& f) {
                  return of_step(f, false, 1e3 * f.seconds / static_cast<double>(f.n_tokens));
                }),
        plot_of(bench, "Cache of one layer", "MiB", [&](const AttentionFigure& f) {
          return of_step(f, true, f.cache_bytes / (1 << 20));
        })}) {
    if (!plot.series.empty()) charts.emplace_back(std::move(plot));
  }
  return charts;
}

Result<int> measure(const AttentionFlags& flags) {
  if (!flags.plot_file.empty()) PRECIS_TRY(picture_format(flags.plot_file));
  PRECIS_ASSIGN_OR_RETURN(AttentionBenchOptions options, options_of(flags));
  // One line of a chart needs its points in order, and each once.
  std::ranges::sort(options.contexts);
  options.contexts.erase(std::unique(options.contexts.begin(), options.contexts.end()),
                         options.contexts.end());
  PRECIS_ASSIGN_OR_RETURN(const std::optional<Machine> machine, find_machine(flags.machine));
  const MeasureFn on_measure = [&](const std::string& what) {
    if (!flags.output.quiet) fmt::print(stderr, "measuring {}\n", what);
  };
  PRECIS_ASSIGN_OR_RETURN(const AttentionBench bench,
                          bench_attention(options, machine, on_measure));
  if (flags.output.json) {
    for (const AttentionFigure& figure : bench.figures) {
      fmt::print("{}\n", json_line(bench, figure));
    }
  } else {
    print_figures(bench);
    if (!machine) fmt::print("\nfor \"of bound\", run `precis bench machine` first\n");
  }
  if (!flags.plot_file.empty()) PRECIS_TRY(write_picture(flags.plot_file, charts_of(bench)));
  return static_cast<int>(kOk);
}

std::string kinds_help() {
  std::string help = "Kinds, separated by commas, or all:";
  for (const AttentionKind& kind : attention_kinds()) {
    help += fmt::format("\n  {:18} {}", kind.name, kind.title);
  }
  return help;
}

}  // namespace

void add_bench_attention(CLI::App& bench, int& exit_code) {
  auto flags = std::make_shared<AttentionFlags>();
  CLI::App& command = add_command(
      bench, "attention",
      "Runs one layer of V4's attention and of the attentions before it over random rows, for\n"
      "one token and for a prefill chunk, and compares time, work, bytes and cache.",
      "  precis bench attention\n"
      "  precis bench attention --kinds mla,dsa,v4 --shape v3.2 --ctx 32K,1M --plot lineage.png\n"
      "  precis bench attention --kinds all --shape custom --heads 16 --head-dim 64 --json\n");
  command.add_option("--kinds", flags->kinds, kinds_help())->capture_default_str();
  command.add_option("--shape", flags->shape, "Sizes of the layer")
      ->capture_default_str()
      ->type_name("flash|pro|v3.2|custom");
  command.add_option("--heads", flags->heads, "Query heads of --shape custom");
  command.add_option("--head-dim", flags->head_dim, "Channels of a head of --shape custom");
  command.add_option("--ctx", flags->contexts, "Context lengths")
      ->capture_default_str()
      ->type_name("TOKENS,…");
  command.add_option("--tokens", flags->chunk, "Tokens of the prefill chunk")
      ->capture_default_str();
  command
      .add_option("--memory", flags->memory,
                  "For the rows of a layer; beyond, pages stand for several")
      ->capture_default_str()
      ->type_name("BYTES");
  command.add_option("--backend", flags->backend, "auto, cpu or ref")->capture_default_str();
  command.add_option("--threads", flags->threads, "Default: all processors");
  command.add_option("--seed", flags->seed, "Of the random rows")->capture_default_str();
  command
      .add_option("--machine", flags->machine,
                  "File of `precis bench machine` (default: the user's cache)")
      ->type_name("FILE");
  command.add_option("--plot", flags->plot_file, "Also draw times and cache over context")
      ->type_name("FILE.png|.svg");
  command.add_flag("--json", flags->output.json, "One JSON object a figure and line on stdout");
  command.add_flag("-q,--quiet", flags->output.quiet, "No progress on stderr");
  command.callback(
      [flags, &exit_code] { exit_code = exit_code_of(measure(*flags), flags->output.format()); });
}

}  // namespace precis::cli
