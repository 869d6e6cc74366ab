// precis chat: the terminal side of a conversation, or a script of messages on standard input.
#include <iostream>

#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/conversation.h"
#include "cli/format.h"
#include "cli/options.h"

namespace precis::cli {
namespace {

struct ChatFlags {
  ModelFlags model;
  OutputFlags output;
  SamplingFlags sampling;
  bool think = false;
};

constexpr const char* kHelp =
    "  /think on|off   reason before answering\n"
    "  /reset          forget the conversation\n"
    "  /save FILE      keep it: the cache in FILE, the messages in FILE.json\n"
    "  /load FILE      go on with a saved one, without computing it again\n"
    "  /stats          tokens, speeds and sizes\n"
    "  /help           this list\n"
    "  /quit           end; Ctrl-C ends an answer\n";

void print_stats(const Session& session) {
  const SessionStats stats = session.stats();
  fmt::print("  {} of {} tokens held, {} computed, {} reused, {} computed again\n",
             format_count(session.position()), format_count(session.max_tokens()),
             format_count(stats.n_computed), format_count(stats.n_reused),
             format_count(stats.n_replayed));
  fmt::print("  {} reading, {} answering, {} of KV cache, {} of points to go back to\n",
             format_seconds(stats.prefill_seconds), format_seconds(stats.decode_seconds),
             format_bytes(stats.kv_bytes), format_bytes(stats.frontier_bytes));
}

// Reads lines, runs commands, shows answers.
class ChatLoop {
 public:
  ChatLoop(Conversation& conversation, ProgressOutput progress)
      : conversation_(conversation), progress_(progress), interactive_(stdin_is_terminal()) {}

  int run() {
    if (interactive_) fmt::print("/help lists commands\n");
    for (std::string line; next_line(line);) {
      if (line.empty()) continue;
      if (line == "/quit") return kOk;
      const Result<void> result = line.front() == '/' ? command(line) : say(line);
      if (result) continue;
      const int code = report(result.error(), OutputFormat::kText);
      // A person can go on after an error; the rest of a script would not mean what it says.
      if (!interactive_) return code;
      clear_interrupt();
    }
    if (interactive_) fmt::print("\n");
    return interrupted() ? kInterrupted : kOk;
  }

 private:
  bool next_line(std::string& line) {
    if (interactive_) fmt::print("> ");
    std::fflush(stdout);
    if (!std::getline(std::cin, line)) return false;
    line.erase(line.find_last_not_of(" \t\r") + 1);
    return true;
  }

  Result<void> command(const std::string& line) {
    const std::size_t space = line.find(' ');
    const std::string name = line.substr(0, space);
    const std::string argument = space == std::string::npos ? "" : line.substr(space + 1);
    if ((name == "/save" || name == "/load") && argument.empty()) {
      return Error{ErrorCode::kInvalidArgument, fmt::format("{} wants a file", name)};
    }
    if (name == "/save") return conversation_.save(argument);
    if (name == "/load") return conversation_.load(argument);
    if (name == "/think") return think(argument);
    if (name == "/stats") {
      print_stats(conversation_.session());
    } else if (name == "/reset") {
      conversation_.reset();
    } else if (name == "/help") {
      fmt::print("{}", kHelp);
    } else {
      return Error{ErrorCode::kInvalidArgument,
                   fmt::format("there is no command {}; /help lists them", name)};
    }
    return {};
  }

  Result<void> think(const std::string& argument) {
    if (argument != "on" && argument != "off") {
      return Error{ErrorCode::kInvalidArgument,
                   fmt::format("/think wants on or off, found \"{}\"", argument)};
    }
    conversation_.set_thinking(argument == "on" ? ThinkingMode::kThinking : ThinkingMode::kChat);
    return {};
  }

  Result<void> say(const std::string& line) {
    bool in_reasoning = false;
    const auto on_part = [&](Conversation::Part part, std::string_view text) {
      if (!text.empty()) {
        const bool reasoning = part == Conversation::Part::kReasoning;
        if (in_reasoning && !reasoning) fmt::print("\n");
        in_reasoning = reasoning;
        fmt::print("{}", reasoning ? styled(text, Style::kDim) : std::string(text));
        std::fflush(stdout);
      }
      return !interrupted();
    };
    WorkProgress progress(progress_);
    PRECIS_ASSIGN_OR_RETURN(const FinishReason finish,
                            conversation_.say(line, progress.callback(), on_part));
    fmt::print("\n");
    if (finish == FinishReason::kLength || finish == FinishReason::kContext) {
      fmt::print("{}\n",
                 styled(fmt::format("[ended by {}]", finish_reason_name(finish)), Style::kDim));
    }
    if (finish == FinishReason::kCancelled && interactive_) clear_interrupt();
    if (finish == FinishReason::kCancelled && !interactive_) {
      return Error{ErrorCode::kCancelled, "interrupted"};
    }
    return {};
  }

  Conversation& conversation_;
  ProgressOutput progress_;
  bool interactive_;
};

Result<int> chat(const ChatFlags& flags) {
  PRECIS_ASSIGN_OR_RETURN(GenerateOptions options, generate_options(flags.sampling));
  PRECIS_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine,
                          open_engine(flags.model, flags.output.progress()));
  PRECIS_ASSIGN_OR_RETURN(const std::unique_ptr<Conversation> conversation,
                          Conversation::create(*engine, std::move(options)));
  if (flags.think) conversation->set_thinking(ThinkingMode::kThinking);
  return ChatLoop(*conversation, flags.output.progress()).run();
}

}  // namespace

void add_chat(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<ChatFlags>();
  CLI::App& command =
      add_command(app, "chat",
                  "A conversation in the terminal; only new tokens are computed at each turn.\n"
                  "Lines on standard input work too, so a conversation can be scripted.",
                  "  precis chat -m DIR --think\n"
                  "  printf 'Hello\\n/stats\\n' | precis chat -m DIR --temperature 0\n");
  command.add_flag("--think", flags->think, "Reason before answering, as /think on");
  add_engine_flags(command, flags->model);
  add_sampling_flags(command, flags->sampling);
  command.add_flag("-q,--quiet", flags->output.quiet, "No progress on stderr");
  command.callback(
      [flags, &exit_code] { exit_code = exit_code_of(chat(*flags), OutputFormat::kText); });
}

}  // namespace precis::cli
