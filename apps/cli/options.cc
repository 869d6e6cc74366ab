#include "cli/options.h"

#include <charconv>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "precis/host.h"
#include "precis/paths.h"

#include "cli/format.h"

namespace precis::cli {
namespace {

constexpr const char* kModelGroup = "Model";
constexpr const char* kSamplingGroup = "Sampling";
constexpr const char* kOutputGroup = "Output";

Result<std::pair<TokenId, float>> parse_bias(const std::string& text) {
  const char* const end = text.data() + text.size();
  TokenId token = 0;
  const auto [colon, token_status] = std::from_chars(text.data(), end, token);
  if (token_status == std::errc() && colon != end && *colon == ':') {
    float bias = 0;
    const auto [rest, bias_status] = std::from_chars(colon + 1, end, bias);
    if (bias_status == std::errc() && rest == end) return std::pair(token, bias);
  }
  return Error{ErrorCode::kInvalidArgument,
               fmt::format("--bias: want TOKEN:VALUE such as 42:-5, found \"{}\"", text)};
}

void show_device_plan(const DevicePlan& plan) {
  fmt::print(stderr,
             "{}: {} layers, {} of {} routed experts in each: weights {}, cache of {} tokens {}, "
             "steps {}: {} of {} free\n",
             plan.device, plan.n_layers, plan.n_experts - plan.n_host_experts, plan.n_experts,
             format_bytes(plan.weights), short_size(plan.max_tokens), format_bytes(plan.cache),
             format_bytes(plan.steps), format_bytes(plan.needed()), format_bytes(plan.free_bytes));
  if (plan.n_host_experts == 0) return;
  fmt::print(stderr, "pinned host memory: {} routed experts of each layer: {}\n",
             plan.n_host_experts, format_bytes(plan.host_weights));
}

}  // namespace

CLI::App& add_command(CLI::App& app, const std::string& name, const std::string& description,
                      const std::string& examples) {
  CLI::App& command = *app.add_subcommand(name, description);
  command.footer("\nExamples:\n" + examples);
  return command;
}

void add_model_flag(CLI::App& command, ModelFlags& flags) {
  command
      .add_option("-m,--model", flags.model,
                  "Checkpoint directory (default: $PRECIS_MODEL, else the bundled model)")
      ->type_name("DIR")
      ->group(kModelGroup);
}

void add_engine_flags(CLI::App& command, ModelFlags& flags) {
  add_model_flag(command, flags);
  command
      .add_option("--ctx", flags.context,
                  "Longest context, e.g. 128K or 1M (default: the model's own limit)")
      ->type_name("TOKENS")
      ->group(kModelGroup);
  command.add_option("--threads", flags.threads, "Threads (default: every available processor)")
      ->type_name("N")
      ->group(kModelGroup);
  command.add_option("--backend", flags.backend, "auto, cpu, cuda, or ref (slow, for checking)")
      ->capture_default_str()
      ->type_name("NAME")
      ->group(kModelGroup);
  command
      .add_option("--mode", flags.mode,
                  "release: bf16 where the release rounds; f32: no rounding between operations")
      ->capture_default_str()
      ->type_name("MODE")
      ->group(kModelGroup);
  command
      .add_option("--experts-on-host", flags.host_experts,
                  "Routed experts of each layer that stay in pinned host memory (GPU)")
      ->type_name("N")
      ->group(kModelGroup);
  command
      .add_flag("--direct", flags.direct,
                "On a GPU, launch every kernel by itself instead of repeating recorded steps")
      ->group(kModelGroup);
  command.add_option("--chunk", flags.chunk, "Tokens of one prefill step (default 512)")
      ->type_name("TOKENS")
      ->group(kModelGroup);
}

void add_synthetic_flags(CLI::App& command, ModelFlags& flags) {
  CLI::Option* shape =
      command
          .add_option("--synth", flags.synth,
                      "Random weights of this shape (flash, pro or mini), without any file")
          ->type_name("SHAPE")
          ->excludes("--model")
          ->group(kModelGroup);
  add_synthetic_size_flags(command, flags.synthetic, "--synth-seed", shape);
}

void add_synthetic_size_flags(CLI::App& command, SyntheticModel& synthetic,
                              const std::string& seed_flag, CLI::Option* shape) {
  command.add_option("--layers", synthetic.n_layers, "The first N layers (default: all)")
      ->type_name("N")
      ->check(CLI::Range(1, 4096))
      ->needs(shape)
      ->group(kModelGroup);
  command.add_option("--experts", synthetic.n_experts, "Routed experts a layer (default: all)")
      ->type_name("N")
      ->check(CLI::Range(1, 4096))
      ->needs(shape)
      ->group(kModelGroup);
  command.add_option(seed_flag, synthetic.seed, "The same seed gives the same weights")
      ->needs(shape)
      ->capture_default_str()
      ->group(kModelGroup);
}

void add_output_flags(CLI::App& command, OutputFlags& flags) {
  command.add_flag("--json", flags.json, "One JSON object on stdout")->group(kOutputGroup);
  command.add_flag("-q,--quiet", flags.quiet, "No progress on stderr")->group(kOutputGroup);
}

void add_sampling_flags(CLI::App& command, SamplingFlags& flags) {
  const auto add = [&](const char* name, auto& value, const char* help) {
    command.add_option(name, value, help)->capture_default_str()->group(kSamplingGroup);
  };
  add("--temperature", flags.options.temperature, "0 = always the most likely token");
  add("--top-k", flags.options.top_k, "Only the K most likely tokens; 0 = all");
  add("--top-p", flags.options.top_p, "Only the most likely tokens with this much probability");
  add("--min-p", flags.options.min_p,
      "Only tokens at least this likely, relative to the likeliest");
  add("--repetition-penalty", flags.options.repetition_penalty,
      "Makes tokens seen before less likely; 1 = off");
  add("--presence-penalty", flags.options.presence_penalty,
      "Subtracted once from generated tokens");
  add("--frequency-penalty", flags.options.frequency_penalty,
      "Subtracted from generated tokens for every occurrence");
  add("--seed", flags.options.seed, "The same seed gives the same text");
  command.add_option("--bias", flags.biases, "Added to a token's logit; may be repeated")
      ->type_name("TOKEN:VALUE")
      ->group(kSamplingGroup);
  command
      .add_option("--logprobs", flags.options.n_top_logprobs,
                  "Most likely tokens reported for every choice, with --json")
      ->type_name("N")
      ->group(kSamplingGroup);
  command.add_option("--stop", flags.stops, "Ends before this text; may be repeated")
      ->type_name("TEXT")
      ->group(kSamplingGroup);
  command.add_option("-n,--max-new", flags.max_new_tokens, "Most tokens to generate")
      ->capture_default_str()
      ->type_name("TOKENS")
      ->group(kSamplingGroup);
}

Result<std::filesystem::path> model_path(const ModelFlags& flags) {
  if (!flags.model.empty()) return std::filesystem::path(flags.model);
  return default_model_path(executable_path());
}

Result<int> thread_count(std::optional<int> threads) {
  if (!threads) return 0;
  const int n_processors = available_processors();
  if (*threads < 1 || *threads > n_processors) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("--threads must be between 1 and {} (the processors available here), "
                             "found {}",
                             n_processors, *threads)};
  }
  return *threads;
}

Result<int> parse_int_size(std::string_view name, std::string_view text) {
  PRECIS_ASSIGN_OR_RETURN(const std::int64_t n, parse_size(name, text));
  if (n > std::numeric_limits<int>::max()) {
    return Error{ErrorCode::kInvalidArgument, fmt::format("{}: {} is too large", name, text)};
  }
  return static_cast<int>(n);
}

Result<EngineOptions> engine_options(const ModelFlags& flags) {
  EngineOptions options;
  PRECIS_ASSIGN_OR_RETURN(options.model, model_path(flags));
  PRECIS_ASSIGN_OR_RETURN(options.mode, parse_compute_mode(flags.mode));
  PRECIS_ASSIGN_OR_RETURN(options.n_threads, thread_count(flags.threads));
  options.backend = flags.backend;
  options.n_host_experts = flags.host_experts;
  if (!flags.synth.empty()) {
    options.synthetic = flags.synthetic;
    options.synthetic->shape = flags.synth;
  }
  if (flags.direct) options.launch = StepLaunch::kDirect;
  if (!flags.context.empty()) {
    PRECIS_ASSIGN_OR_RETURN(options.max_tokens, parse_size("--ctx", flags.context));
    if (options.max_tokens == 0) {
      return Error{ErrorCode::kInvalidArgument, "--ctx must be at least 1 token, found 0"};
    }
  }
  if (!flags.chunk.empty()) {
    PRECIS_ASSIGN_OR_RETURN(options.chunk_tokens, parse_int_size("--chunk", flags.chunk));
    if (options.chunk_tokens == 0) {
      return Error{ErrorCode::kInvalidArgument, "--chunk must be at least 1 token, found 0"};
    }
  }
  return options;
}

void show_plan_before_load(EngineOptions& options, ProgressOutput progress) {
  if (progress == ProgressOutput::kShow) options.on_device_plan = show_device_plan;
}

Result<std::unique_ptr<Engine>> open_engine(EngineOptions options, ProgressOutput progress) {
  show_plan_before_load(options, progress);
  return Engine::open(options);
}

Result<std::unique_ptr<Engine>> open_engine(const ModelFlags& flags, ProgressOutput progress) {
  PRECIS_ASSIGN_OR_RETURN(EngineOptions options, engine_options(flags));
  return open_engine(std::move(options), progress);
}

Result<GenerateOptions> generate_options(const SamplingFlags& flags) {
  GenerateOptions options;
  options.sampling = flags.options;
  options.stop = flags.stops;
  PRECIS_ASSIGN_OR_RETURN(options.max_new_tokens, parse_size("--max-new", flags.max_new_tokens));
  for (const std::string& text : flags.biases) {
    PRECIS_ASSIGN_OR_RETURN(auto bias, parse_bias(text));
    options.sampling.logit_bias.push_back(bias);
  }
  return options;
}

}  // namespace precis::cli
