// precis eval: how well a model, here or behind a URL, finds and uses what stands far back.
#include "cli/eval.h"

#include <charconv>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <unistd.h>

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

struct EvalFlags {
  ModelFlags model;
  OutputFlags output;
  EndpointOptions endpoint;
  std::string profile = "smoke";
  std::string tasks;
  std::string lengths;
  std::string depths = "0,10,20,30,40,50,60,70,80,90,100";
  std::optional<int> samples;
  std::uint64_t seed = 1;
  std::string form = "chat";
  bool single = false;
  std::string ablation = "none";
  std::string haystack_file;
  std::string document_file;
  std::string directory = "eval-results";
  std::string plot_file;
};

// What is asked where a flag does not say otherwise.
struct Profile {
  const char* name;
  const char* tasks;
  const char* lengths;
  int samples;
};
constexpr Profile kProfiles[] = {
    {"smoke",
     "niah,niah_single_2,niah_multikey_1,niah_multikey_2,niah_multivalue,niah_multiquery,vt",
     "4K,16K,32K", 2},
    {"standard", "all", "4K,8K,16K,32K,64K,128K", 5},
    {"full", "all", "4K,8K,16K,32K,64K,128K,256K,512K,1M", 5},
};

Result<Profile> profile_named(const std::string& name) {
  for (const Profile& profile : kProfiles) {
    if (name == profile.name) return profile;
  }
  return Error{ErrorCode::kInvalidArgument,
               fmt::format("--profile: want smoke, standard or full, found \"{}\"", name)};
}

Result<std::vector<double>> parse_depths(std::string_view text) {
  std::vector<double> depths;
  while (!text.empty()) {
    const std::string_view part = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), part.size() + 1));
    double depth = 0;
    const auto [end, status] = std::from_chars(part.data(), part.data() + part.size(), depth);
    if (status != std::errc() || end != part.data() + part.size()) {
      return Error{ErrorCode::kInvalidArgument,
                   fmt::format("--depths: want percentages such as 0,50,100, found \"{}\"", part)};
    }
    depths.push_back(depth);
  }
  return depths;
}

Result<std::string> text_of(const std::string& file) {
  if (file.empty()) return std::string();
  PRECIS_ASSIGN_OR_RETURN(std::string text, read_file(file));
  PRECIS_TRY(require_utf8(text, file));
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) {
    return Error{ErrorCode::kInvalidArgument, fmt::format("{} is empty: want a text", file)};
  }
  return text;
}

Result<EvalOptions> eval_options(const EvalFlags& flags) {
  PRECIS_ASSIGN_OR_RETURN(const Profile profile, profile_named(flags.profile));
  EvalOptions options;
  // The user's own text is what is asked about, unless tasks are named.
  const std::string default_tasks =
      flags.document_file.empty() ? profile.tasks : "document_niah,document_cloze";
  PRECIS_ASSIGN_OR_RETURN(options.tasks,
                          parse_eval_tasks(flags.tasks.empty() ? default_tasks : flags.tasks));
  PRECIS_ASSIGN_OR_RETURN(
      options.lengths,
      parse_sizes("--lengths", flags.lengths.empty() ? profile.lengths : flags.lengths));
  PRECIS_ASSIGN_OR_RETURN(options.depths, parse_depths(flags.depths));
  options.n_samples = flags.samples.value_or(profile.samples);
  options.seed = flags.seed;
  if (flags.form != "chat" && flags.form != "raw") {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("--form: want chat or raw, found \"{}\"", flags.form)};
  }
  options.form = flags.form == "chat" ? PromptForm::kChat : PromptForm::kRaw;
  options.shared_prefill = flags.single ? SharedPrefill::kNo : SharedPrefill::kYes;
  PRECIS_ASSIGN_OR_RETURN(options.haystack, text_of(flags.haystack_file));
  options.haystack_name = flags.haystack_file;
  PRECIS_ASSIGN_OR_RETURN(options.document, text_of(flags.document_file));
  options.document_name = flags.document_file;
  return options;
}

// One line on stderr that says how far the run is: again and again on a terminal, else every few
// seconds.
class EvalBar {
 public:
  explicit EvalBar(ProgressOutput output) : output_(output) {}
  ~EvalBar() {
    if (on_screen_) fmt::print(stderr, "\r\033[K");
  }
  EvalBar(const EvalBar&) = delete;
  EvalBar& operator=(const EvalBar&) = delete;

  void show(const EvalProgress& progress) {
    if (output_ == ProgressOutput::kHide) return;
    const bool terminal = isatty(STDERR_FILENO) == 1;
    const Clock::time_point now = Clock::now();
    const std::chrono::duration<double> since_shown = now - shown_at_;
    if (since_shown.count() < (terminal ? 0.2 : 5.0)) return;
    shown_at_ = now;
    const std::chrono::duration<double> elapsed = now - start_;
    const double left = progress.tokens_done > 0
                            ? elapsed.count() * (progress.tokens_total / progress.tokens_done - 1)
                            : -1;
    const std::string line = fmt::format(
        "{} / {} answers, {}, {} left", format_count(progress.n_done),
        format_count(progress.n_total), progress.now, left < 0 ? "?" : format_seconds(left));
    if (!terminal) {
      fmt::print(stderr, "{}\n", line);
      return;
    }
    constexpr int kCells = 24;
    const auto n_full =
        static_cast<int>(kCells * progress.n_done / std::max<std::int64_t>(progress.n_total, 1));
    fmt::print(stderr, "\r\033[K[{:#<{}}{:.<{}}] {}", "", n_full, "", kCells - n_full, line);
    std::fflush(stderr);
    on_screen_ = true;
  }

 private:
  using Clock = std::chrono::steady_clock;
  ProgressOutput output_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point shown_at_ = start_;
  bool on_screen_ = false;
};

Result<std::unique_ptr<Engine>> open_subject(const EvalFlags& flags, Ablation ablation) {
  PRECIS_ASSIGN_OR_RETURN(EngineOptions options, engine_options(flags.model));
  options.ablation = ablation;
  options.ablation_seed = flags.seed;
  return open_engine(std::move(options), flags.output.progress());
}

// Before anything is read: the ablation's name, and that there is an engine to change.
Result<Ablation> ablation_of(const EvalFlags& flags) {
  PRECIS_ASSIGN_OR_RETURN(const Ablation ablation, parse_ablation(flags.ablation));
  if (ablation != Ablation::kNone && !flags.endpoint.url.empty()) {
    return Error{ErrorCode::kInvalidArgument,
                 "--ablate changes the attention of a model here: want no --url with it"};
  }
  return ablation;
}

// What the model card of the bundled model says about its training.
void add_training_notes(const EvalFlags& flags, EvalOptions& options) {
  const Result<std::filesystem::path> model = model_path(flags.model);
  if (!model || !is_bundled_model(*model, executable_path())) return;
  options.notes = {{kTrainedLength, "8192"},
                   {kTrainedPositions, "1048576"},
                   {"wordings seen in training", "yes, except those of niah_heldout"}};
}

Result<EvalRun> evaluate(const EvalFlags& flags, const EvalOptions& options, Ablation ablation,
                         EvalTiming& timing) {
  EvalBar bar(flags.output.progress());
  const EvalProgressFn progress = [&](const EvalProgress& now) {
    bar.show(now);
    return !interrupted();
  };
  if (!flags.endpoint.url.empty()) {
    // Lengths are counted with a tokenizer here; the server's may differ.
    PRECIS_ASSIGN_OR_RETURN(const std::filesystem::path model, model_path({}));
    PRECIS_ASSIGN_OR_RETURN(const Tokenizer tokenizer,
                            Tokenizer::load((model / "tokenizer.json").string()));
    EndpointOptions endpoint = flags.endpoint;
    endpoint.model = flags.model.model;
    PRECIS_ASSIGN_OR_RETURN(const std::unique_ptr<EvalSubject> subject,
                            endpoint_subject(endpoint, options.form));
    return run_eval(options, tokenizer, *subject, flags.directory, progress, &timing);
  }
  PRECIS_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, open_subject(flags, ablation));
  PRECIS_ASSIGN_OR_RETURN(const std::unique_ptr<EvalSubject> subject,
                          local_subject(*engine, options.form));
  return run_eval(options, engine->tokenizer(), *subject, flags.directory, progress, &timing);
}

Result<void> eval(const EvalFlags& flags) {
  if (!flags.plot_file.empty()) PRECIS_TRY(picture_format(flags.plot_file));
  PRECIS_ASSIGN_OR_RETURN(const Ablation ablation, ablation_of(flags));
  PRECIS_ASSIGN_OR_RETURN(EvalOptions options, eval_options(flags));
  if (flags.endpoint.url.empty()) add_training_notes(flags, options);
  EvalTiming timing;
  PRECIS_ASSIGN_OR_RETURN(const EvalRun run, evaluate(flags, options, ablation, timing));
  const EvalSummary summary = summarise(run);
  if (!flags.plot_file.empty()) PRECIS_TRY(write_heat_maps(flags.plot_file, run, summary));
  if (flags.output.json) {
    Json out = eval_json(run, summary);
    out["seconds"] = {{"total", timing.total_seconds},
                      {"generation", timing.generation_seconds},
                      {"model", timing.busy_seconds}};
    print_json(out);
    return {};
  }
  print_eval(run, summary);
  fmt::print("{} in all, {} in the model; results in {}\n", format_seconds(timing.total_seconds),
             format_seconds(timing.busy_seconds), flags.directory);
  return {};
}

void add_task_flags(CLI::App& command, EvalFlags& flags) {
  command
      .add_option("--profile", flags.profile,
                  "smoke (to 32K, minutes), standard (all tasks to 128K) or full (to 1M, hours)")
      ->capture_default_str()
      ->type_name("NAME");
  command
      .add_option("--tasks,--task", flags.tasks,
                  "Tasks or groups of `precis eval tasks` (default: the profile's)")
      ->type_name("A,B");
  command
      .add_option("--lengths", flags.lengths, "Prompt and answer together (default: the profile's)")
      ->type_name("TOKENS,…");
  command.add_option("--depths", flags.depths, "Where facts are hidden, in percent of the text")
      ->capture_default_str()
      ->type_name("%,…");
  command.add_option("--samples", flags.samples, "Haystacks of a task and length")->type_name("N");
  command.add_option("--seed", flags.seed, "The same seed gives the same prompts")
      ->capture_default_str();
  command
      .add_option("--form", flags.form,
                  "chat: a user's message; raw: text that ends with the start of the answer")
      ->capture_default_str()
      ->type_name("NAME");
  command.add_flag("--single", flags.single,
                   "One fact a prompt; without it all depths share one prefill");
  command
      .add_option("--haystack", flags.haystack_file,
                  "Text to hide things in (default: generated prose)")
      ->type_name("FILE");
  command
      .add_option("--my-document", flags.document_file,
                  "Ask about this text of yours: facts hidden in it, its own sentences, and its "
                  "log probability (task logprob)")
      ->type_name("FILE");
}

std::string ablate_help() {
  std::string help = "Shows what a score owes to the attention:";
  for (const AblationInfo& info : ablations()) {
    if (info.ablation != Ablation::kNone) help += fmt::format("\n{}: {}", info.name, info.effect);
  }
  return help;
}

void add_ablation_flag(CLI::App& command, EvalFlags& flags) {
  command.add_option("--ablate", flags.ablation, ablate_help())
      ->capture_default_str()
      ->type_name("NAME")
      ->group("Model");
}

void add_result_flags(CLI::App& command, EvalFlags& flags) {
  command
      .add_option("--out", flags.directory,
                  "Where results go; the same command continues a run that was stopped")
      ->capture_default_str()
      ->type_name("DIR");
  command.add_option("--plot", flags.plot_file, "Also draw length by depth")
      ->type_name("FILE.png|.svg");
}

void add_endpoint_flags(CLI::App& command, EvalFlags& flags) {
  constexpr const char* kGroup = "Endpoint";
  command
      .add_option("--url", flags.endpoint.url,
                  "Ask an OpenAI-compatible server, e.g. http://host:8000/v1; --model is then its "
                  "name there")
      ->type_name("URL")
      ->group(kGroup);
  command
      .add_option("--api-key-env", flags.endpoint.api_key_env,
                  "Environment variable that holds the key")
      ->type_name("VAR")
      ->group(kGroup);
  command.add_option("--parallel", flags.endpoint.n_parallel, "Requests at once")
      ->capture_default_str()
      ->type_name("N")
      ->group(kGroup);
  command
      .add_option("--retries", flags.endpoint.n_retries, "Further tries of a request that failed")
      ->capture_default_str()
      ->type_name("N")
      ->group(kGroup);
  command.add_option("--timeout", flags.endpoint.timeout_seconds, "Longest wait for a reply")
      ->capture_default_str()
      ->type_name("SECONDS")
      ->group(kGroup);
  command.add_flag("--stream", flags.endpoint.stream, "Ask for the reply in pieces")->group(kGroup);
}

}  // namespace

void add_eval(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<EvalFlags>();
  CLI::App& command = add_command(
      app, "eval",
      "Measures how well a model finds and uses what stands far back: needles, RULER-like tasks,\n"
      "small worlds, and your own text, by context length and depth, with 95 % intervals.",
      "  precis eval\n"
      "  precis eval --tasks niah --lengths 4K,32K,128K --samples 5 --plot heat_map.png\n"
      "  precis eval --my-document report.txt --lengths 16K\n"
      "  precis eval --tasks niah --lengths 4K,8K --ablate window --out results/window\n"
      "  precis eval --url http://localhost:8000/v1 --model NAME --parallel 4\n"
      "  precis eval compare results/a results/b\n");
  add_task_flags(command, *flags);
  add_result_flags(command, *flags);
  add_engine_flags(command, flags->model);
  add_ablation_flag(command, *flags);
  add_endpoint_flags(command, *flags);
  add_output_flags(command, flags->output);
  command.require_subcommand(0, 1);
  add_eval_report(command, exit_code);
  add_eval_compare(command, exit_code);
  add_eval_tasks(command, exit_code);
  add_eval_wordings(command, exit_code);
  command.callback([flags, &command, &exit_code] {
    if (!command.get_subcommands().empty()) return;
    exit_code = exit_code_of(eval(*flags), flags->output.format());
  });
}

}  // namespace precis::cli
