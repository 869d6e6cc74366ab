// precis run: one prompt, one continuation.
#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/format.h"
#include "cli/input.h"
#include "cli/json.h"
#include "cli/options.h"

namespace precis::cli {
namespace {

struct RunFlags {
  ModelFlags model;
  OutputFlags output;
  SamplingFlags sampling;
  std::string prompt;
  std::string file;
  bool raw = false;
  bool chat = false;
  bool rendered = false;
  bool think = false;
  bool stats = false;
};

Result<std::string> prompt_text(const RunFlags& flags) {
  if (!flags.prompt.empty() && flags.prompt != "-") return flags.prompt;
  if (!flags.file.empty()) return read_input(flags.file);
  if (flags.prompt != "-" && stdin_is_terminal()) {
    return Error{ErrorCode::kInvalidArgument,
                 "no prompt: want it as an argument, in --file, or on standard input"};
  }
  return read_stdin();
}

Result<std::vector<TokenId>> prompt_tokens(const RunFlags& flags, const Engine& engine,
                                           std::string_view text) {
  const Tokenizer& tokenizer = engine.tokenizer();
  if (flags.rendered) return tokenizer.encode(text, SpecialTokens::kParse);
  if (flags.chat) {
    const ChatMessage message{
        .role = "user", .content = std::string(text), .reasoning_content = {}};
    const ChatOptions options{.thinking_mode =
                                  flags.think ? ThinkingMode::kThinking : ThinkingMode::kChat};
    PRECIS_ASSIGN_OR_RETURN(const std::string prompt, render_chat(std::span(&message, 1), options));
    return tokenizer.encode(prompt, SpecialTokens::kParse);
  }
  std::vector<TokenId> tokens = {engine.info().bos_token};
  const std::vector<TokenId> body = tokenizer.encode(text, SpecialTokens::kAsText);
  tokens.insert(tokens.end(), body.begin(), body.end());
  return tokens;
}

Json token_json(const SampledToken& token, const Tokenizer& tokenizer) {
  Json out = {{"id", token.token},
              {"text", std::string(tokenizer.token_bytes(token.token))},
              {"logprob", token.logprob}};
  for (const TokenLogprob& other : token.top) {
    out["top"].push_back({{"id", other.token}, {"logprob", other.logprob}});
  }
  return out;
}

Json operations_json(const std::vector<OperationCount>& counts) {
  Json out = Json::array();
  for (const OperationCount& count : counts) {
    out.push_back({{"operation", count.operation},
                   {"calls", count.n_calls},
                   {"fp8", count.flop.fp8},
                   {"fp4", count.flop.fp4},
                   {"bf16", count.flop.bf16},
                   {"f32", count.flop.f32},
                   {"index", count.flop.index},
                   {"element", count.flop.element},
                   {"bytes", count.bytes}});
  }
  return out;
}

void print_operations(const std::vector<OperationCount>& counts) {
  Table table({{"MFLOP executed", Table::Align::kLeft},
               {"calls"},
               {"fp8"},
               {"fp4"},
               {"bf16"},
               {"f32"},
               {"index"},
               {"element"},
               {"bytes"}});
  const auto mega = [](double n) { return n == 0 ? "" : fmt::format("{:.3f}", n / 1e6); };
  for (const OperationCount& count : counts) {
    const FlopByClass& flop = count.flop;
    table.add({count.operation, format_count(count.n_calls), mega(flop.fp8), mega(flop.fp4),
               mega(flop.bf16), mega(flop.f32), mega(flop.index), mega(flop.element),
               format_bytes(static_cast<std::int64_t>(count.bytes))});
  }
  fmt::print(stderr, "{}", table.text());
}

Json run_json(const Engine& engine, std::size_t n_prompt, const Generated& generated,
              const SessionStats& stats) {
  Json out = {{"text", generated.text},
              {"finish", finish_reason_name(generated.finish)},
              {"prompt_tokens", n_prompt},
              {"generated_tokens", generated.tokens.size()},
              {"prefill_seconds", stats.prefill_seconds},
              {"decode_seconds", stats.decode_seconds},
              {"kv_bytes", stats.kv_bytes}};
  out["tokens"] = Json::array();
  for (const SampledToken& token : generated.tokens) {
    out["tokens"].push_back(token_json(token, engine.tokenizer()));
  }
  return out;
}

void print_stats(std::size_t n_prompt, const Generated& generated, const SessionStats& stats) {
  const auto n_read = static_cast<std::int64_t>(n_prompt);
  const auto n_made = static_cast<std::int64_t>(generated.tokens.size());
  fmt::print(stderr,
             "{} tokens read at {:.0f} tokens/s, {} made at {:.1f} tokens/s, {} of KV, {}\n",
             format_count(n_read), tokens_per_second(n_read, stats.prefill_seconds),
             format_count(n_made), tokens_per_second(n_made, stats.decode_seconds),
             format_bytes(stats.kv_bytes), finish_reason_name(generated.finish));
}

Result<int> generate_text(const RunFlags& flags) {
  PRECIS_ASSIGN_OR_RETURN(const GenerateOptions options, generate_options(flags.sampling));
  PRECIS_ASSIGN_OR_RETURN(const std::string text, prompt_text(flags));
  if (text.empty()) {
    return Error{ErrorCode::kInvalidArgument,
                 "the prompt is empty: want text as an argument, in --file, or on standard input"};
  }
  PRECIS_TRY(require_utf8(text, flags.file.empty() ? "the prompt" : flags.file));
  PRECIS_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine,
                          open_engine(flags.model, flags.output.progress()));
  PRECIS_TRY(validate(options.sampling, engine->info().vocab_size));
  PRECIS_ASSIGN_OR_RETURN(const std::vector<TokenId> prompt, prompt_tokens(flags, *engine, text));
  if (flags.stats) engine->count_operations();
  PRECIS_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, engine->new_session());
  {
    WorkProgress progress(flags.output.progress());
    PRECIS_TRY(session->sync(prompt, progress.callback()));
  }
  const TextFn on_text = [&](std::string_view piece, const SampledToken&) {
    if (!flags.output.json) {
      fmt::print("{}", piece);
      std::fflush(stdout);
    }
    return !interrupted();
  };
  PRECIS_ASSIGN_OR_RETURN(const Generated generated, generate(*engine, *session, options, on_text));
  if (flags.output.json) {
    Json out = run_json(*engine, prompt.size(), generated, session->stats());
    if (flags.stats) out["operations"] = operations_json(engine->operation_counts());
    print_json(out);
  } else {
    fmt::print("\n");
    if (flags.stats) {
      print_stats(prompt.size(), generated, session->stats());
      print_operations(engine->operation_counts());
    }
  }
  return generated.finish == FinishReason::kCancelled ? kInterrupted : kOk;
}

}  // namespace

void add_run(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<RunFlags>();
  CLI::App& command = add_command(
      app, "run",
      "Continues a text, or with --chat answers it as a user's message.  Text appears as it is\n"
      "made; Ctrl-C ends it and keeps what is there.",
      "  precis run \"It was a cold evening in the village\" --seed 7\n"
      "  precis run --chat --temperature 0 --file question.txt\n"
      "  precis encode request.json | precis run --rendered --json\n");
  auto* prompt = command.add_option("PROMPT", flags->prompt,
                                    "The text (default: --file, else standard input)");
  command
      .add_option("-f,--file", flags->file, "Read the prompt from this file; - for standard input")
      ->excludes(prompt);
  auto* raw =
      command.add_flag("--raw", flags->raw, "The prompt is plain text to go on with (default)");
  auto* chat =
      command.add_flag("--chat", flags->chat, "The prompt is a user's message")->excludes(raw);
  command.add_flag("--rendered", flags->rendered, "The prompt is output of `precis encode`")
      ->excludes(raw)
      ->excludes(chat);
  command.add_flag("--think", flags->think, "With --chat: reason before the answer")->needs(chat);
  command.add_flag("--stats", flags->stats,
                   "Speeds, sizes, and the FLOP and bytes of every operation at the end");
  add_engine_flags(command, flags->model);
  add_synthetic_flags(command, flags->model);
  add_sampling_flags(command, flags->sampling);
  add_output_flags(command, flags->output);
  command.callback([flags, &exit_code] {
    exit_code = exit_code_of(generate_text(*flags), flags->output.format());
  });
}

}  // namespace precis::cli
