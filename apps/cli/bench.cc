// precis bench: this machine's limits, a model's speed over context, and where the time goes.
#include "cli/bench.h"

#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/format.h"
#include "cli/input.h"
#include "cli/options.h"

namespace precis::cli {
namespace {

struct MachineFlags {
  std::string output;
  bool json = false;
  bool quiet = false;
};

void print_machine(const Machine& machine) {
  using Align = Table::Align;
  fmt::print("{}, {} processors available\n\n", machine.processor, machine.n_processors);
  Table rates({{"multiply-add", Align::kLeft},
               {"instruction set", Align::kLeft},
               {"threads"},
               {"Gflop/s"}});
  for (const MultiplyAddRate& rate : machine.multiply_adds) {
    rates.add({rate.unit, rate.isa, fmt::format("{}", rate.n_threads),
               fmt::format("{:.1f}", rate.flop_per_s / 1e9)});
  }
  Table reads({{"reads of"}, {"threads"}, {"GB/s"}});
  for (const ReadRate& rate : machine.reads) {
    reads.add({format_bytes(rate.working_set_bytes), fmt::format("{}", rate.n_threads),
               fmt::format("{:.1f}", rate.bytes_per_s / 1e9)});
  }
  fmt::print("{}\n{}", rates.text(), reads.text());
}

int run(const MachineFlags& flags) {
  const OutputFormat format = flags.json ? OutputFormat::kJson : OutputFormat::kText;
  const std::filesystem::path path =
      flags.output.empty() ? default_machine_path() : std::filesystem::path(flags.output);
  if (path.empty()) {
    return report(Error{ErrorCode::kInvalidArgument,
                        "neither HOME nor XDG_CACHE_HOME is set: --output must name a file"},
                  format);
  }
  const MeasureFn on_measure = [&](const std::string& what) {
    if (!flags.quiet && !flags.json) fmt::print(stderr, "measuring {}\n", what);
  };
  const Machine machine = measure_machine(on_measure);
  if (const Result<void> written = write_machine(machine, path); !written) {
    return report(written.error(), format);
  }
  if (flags.json) {
    fmt::print("{}", machine_json(machine));
  } else {
    print_machine(machine);
    fmt::print("\nstored in {}\n", path.string());
  }
  return kOk;
}

}  // namespace

Result<std::vector<std::int64_t>> parse_sizes(std::string_view name, const std::string& text) {
  std::vector<std::int64_t> sizes;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    PRECIS_ASSIGN_OR_RETURN(const std::int64_t size,
                            parse_size(name, std::string_view(text).substr(begin, end - begin)));
    sizes.push_back(size);
    begin = end + 1;
  }
  return sizes;
}

Result<std::optional<Machine>> find_machine(const std::string& path) {
  const bool named = !path.empty();
  auto machine = read_machine(named ? std::filesystem::path(path) : default_machine_path());
  if (machine) return std::optional<Machine>(std::move(machine).value());
  if (!named && machine.error().code == ErrorCode::kNotFound) return std::optional<Machine>();
  return std::move(machine).error();
}

void add_bench_machine(CLI::App& bench, int& exit_code) {
  auto flags = std::make_shared<MachineFlags>();
  CLI::App& command = add_command(
      bench, "machine",
      "Measures what this machine can do at most: multiply-adds of every instruction set and\n"
      "reads from caches and memory, on one and on all processors.  The other benches judge\n"
      "themselves by the result, so run this when nothing else runs.",
      "  precis bench machine\n"
      "  precis bench machine --output machine.json --json\n");
  command.add_option("-o,--output", flags->output, "Where to store it (default: the user's cache)")
      ->type_name("FILE");
  command.add_flag("--json", flags->json, "The stored JSON on stdout in place of tables");
  command.add_flag("-q,--quiet", flags->quiet, "No progress on stderr");
  command.callback([flags, &exit_code] { exit_code = run(*flags); });
}

void add_bench(CLI::App& app, int& exit_code) {
  CLI::App& bench = add_command(
      app, "bench",
      "Measures this machine, a model's speed over context length, where the time goes, and V4's\n"
      "attention beside those before it.",
      "  precis bench machine\n"
      "  precis bench step --frontiers 2K,8K,32K --plot speed.png\n"
      "  precis bench profile --at 128K\n"
      "  precis bench attention --kinds mla,dsa,v4 --ctx 8K,128K\n");
  bench.require_subcommand(1);
  add_bench_machine(bench, exit_code);
  add_bench_step(bench, exit_code);
  add_bench_profile(bench, exit_code);
  add_bench_attention(bench, exit_code);
}

}  // namespace precis::cli
