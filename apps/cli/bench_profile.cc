// precis bench profile: which operations a prefill and a decode step spend their time in.
#include <fmt/format.h>

#include "cli/bench.h"
#include "cli/exit_code.h"
#include "cli/format.h"
#include "cli/json.h"
#include "cli/options.h"
#include "cli/terminal.h"

namespace precis::cli {
namespace {

struct ProfileFlags {
  ModelFlags model;
  OutputFlags output;
  std::string at = "32K";
  int decode_steps = 32;
  std::uint64_t seed = 1;
  std::string machine;
};

Json profile_json(const Profile& profile) {
  Json out = {{"tokens", profile.n_tokens}, {"seconds", profile.seconds}, {"ops", Json::array()}};
  for (const OpProfile& op : profile.ops) {
    out["ops"].push_back({{"op", op.op},
                          {"calls", op.n_calls},
                          {"seconds", op.seconds},
                          {"flop", op.flop},
                          {"bytes", op.bytes},
                          {"bound_s", op.bound_s},
                          {"of_bound", op.of_bound()}});
  }
  return out;
}

void print_profile(const std::string& title, const Profile& profile) {
  if (profile.n_tokens == 0) return;
  fmt::print("\n{}: {} tokens in {:.4g} s, {:.4g} us a token\n", title,
             format_count(profile.n_tokens), profile.seconds,
             1e6 * profile.seconds / static_cast<double>(profile.n_tokens));
  Table table({{"operation", Table::Align::kLeft},
               {"share"},
               {"calls"},
               {"us a call"},
               {"Gflop/s"},
               {"GB/s"},
               {"of bound"}});
  double in_ops = 0;
  for (const OpProfile& op : profile.ops) {
    in_ops += op.seconds;
    table.add({op.op, fmt::format("{:.1f} %", 100 * op.seconds / profile.seconds),
               format_count(op.n_calls),
               fmt::format("{:.1f}", 1e6 * op.seconds / static_cast<double>(op.n_calls)),
               fmt::format("{:.1f}", op.flop / op.seconds / 1e9),
               fmt::format("{:.1f}", op.bytes / op.seconds / 1e9),
               op.bound_s > 0 ? fmt::format("{:.2f}", op.of_bound()) : "-"});
  }
  table.add({"between operations", fmt::format("{:.1f} %", 100 * (1 - in_ops / profile.seconds)),
             "", "", "", "", ""});
  fmt::print("{}", table.text());
}

Result<int> measure(const ProfileFlags& flags) {
  ProfileOptions options;
  PRECIS_ASSIGN_OR_RETURN(options.engine, engine_options(flags.model));
  PRECIS_ASSIGN_OR_RETURN(options.context, parse_size("--at", flags.at));
  options.decode_steps = flags.decode_steps;
  options.seed = flags.seed;
  PRECIS_ASSIGN_OR_RETURN(const std::optional<Machine> machine, find_machine(flags.machine));
  Result<StepProfile> profile = [&] {
    WorkProgress progress(flags.output.progress());
    return profile_step(options, machine, progress.callback());
  }();
  if (!profile) return std::move(profile).error();
  if (flags.output.json) {
    print_json({{"context", profile->context},
                {"chunk", profile->chunk_tokens},
                {"isa", profile->isa},
                {"threads", profile->n_threads},
                {"prefill", profile_json(profile->prefill)},
                {"last_chunk", profile_json(profile->last_chunk)},
                {"decode", profile_json(profile->decode)}});
    return static_cast<int>(kOk);
  }
  fmt::print("context {}, chunks of {}, {}, {} threads\n", short_size(profile->context),
             profile->chunk_tokens, profile->isa, profile->n_threads);
  print_profile("prefill from 0", profile->prefill);
  print_profile("last full chunk", profile->last_chunk);
  print_profile("decode", profile->decode);
  if (!machine) fmt::print("\nfor the last column, run `precis bench machine` first\n");
  return static_cast<int>(kOk);
}

}  // namespace

void add_bench_profile(CLI::App& bench, int& exit_code) {
  auto flags = std::make_shared<ProfileFlags>();
  CLI::App& command = add_command(
      bench, "profile",
      "Times every operation of a prefill and of single steps at its end, and compares each\n"
      "with what the machine allows.",
      "  precis bench profile --at 128K\n"
      "  precis bench profile -m DIR --at 32K --json\n");
  add_engine_flags(command, flags->model);
  add_synthetic_flags(command, flags->model);
  command.remove_option(command.get_option("--ctx"));  // --at decides
  command.add_option("--at", flags->at, "Context length")
      ->capture_default_str()
      ->type_name("TOKENS");
  command.add_option("--decode-steps", flags->decode_steps, "Single tokens at the end")
      ->capture_default_str();
  command.add_option("--seed", flags->seed, "Of the random tokens")->capture_default_str();
  command
      .add_option("--machine", flags->machine,
                  "File of `precis bench machine` (default: the user's cache)")
      ->type_name("FILE");
  add_output_flags(command, flags->output);
  command.callback(
      [flags, &exit_code] { exit_code = exit_code_of(measure(*flags), flags->output.format()); });
}

}  // namespace precis::cli
