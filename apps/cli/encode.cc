// precis encode: a conversation to the exact prompt, a reply to a message, and conformance cases.
#include <fmt/format.h>

#include "precis/text.h"

#include "cli/commands.h"
#include "cli/input.h"
#include "cli/json.h"
#include "cli/options.h"

namespace precis::cli {
namespace {

struct EncodeFlags {
  ModelFlags model;
  OutputFlags output;
  std::string input;
  std::string cases;
  std::string effort_style = "preview";
  bool ids = false;
  bool parse = false;
};

Result<int> run_cases(const EncodeFlags& flags) {
  PRECIS_ASSIGN_OR_RETURN(const std::string text, read_input(flags.cases));
  PRECIS_ASSIGN_OR_RETURN(const std::vector<EncodingCaseResult> results, run_encoding_cases(text));
  int n_failed = 0;
  Json failures = Json::array();
  for (const EncodingCaseResult& result : results) {
    if (result.passed) continue;
    ++n_failed;
    failures.push_back({{"kind", result.kind}, {"name", result.name}, {"detail", result.detail}});
    if (!flags.output.json) {
      fmt::print("FAILED {} {}: {}\n", result.kind, result.name, result.detail);
    }
  }
  const int n_passed = static_cast<int>(results.size()) - n_failed;
  if (flags.output.json) {
    print_json({{"passed", n_passed}, {"failed", n_failed}, {"failures", failures}});
  } else {
    fmt::print("{} passed, {} failed\n", n_passed, n_failed);
  }
  return n_failed == 0 ? kOk : kTestFailed;
}

Result<std::string> parse_reply(const EncodeFlags& flags, std::string_view request) {
  PRECIS_ASSIGN_OR_RETURN(const Json object, parse_json(request, flags.input));
  PRECIS_ASSIGN_OR_RETURN(const std::string text, string_field(object, "text", flags.input));
  PRECIS_ASSIGN_OR_RETURN(const std::string mode,
                          string_field(object, "thinking_mode", flags.input));
  if (mode != "chat" && mode != "thinking") {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("{}: thinking_mode must be \"chat\" or \"thinking\", found \"{}\"",
                             flags.input, mode)};
  }
  return parse_reply_json(text, mode == "chat" ? ThinkingMode::kChat : ThinkingMode::kThinking);
}

Result<int> encode(const EncodeFlags& flags) {
  if (!flags.cases.empty()) return run_cases(flags);
  PRECIS_ASSIGN_OR_RETURN(const std::string request, read_input(flags.input));
  std::string out;
  if (flags.parse) {
    PRECIS_ASSIGN_OR_RETURN(out, parse_reply(flags, request));
  } else {
    PRECIS_ASSIGN_OR_RETURN(
        out, render_chat(request, flags.effort_style == "0731" ? EffortStyle::k0731
                                                               : EffortStyle::kPreview));
  }
  if (!flags.ids) {
    // The exact bytes: no newline that the prompt does not have.
    std::fwrite(out.data(), 1, out.size(), stdout);
    return kOk;
  }
  PRECIS_ASSIGN_OR_RETURN(const std::filesystem::path model, model_path(flags.model));
  PRECIS_ASSIGN_OR_RETURN(const Tokenizer tokenizer,
                          Tokenizer::load((model / "tokenizer.json").string()));
  const std::vector<TokenId> tokens = tokenizer.encode(out, SpecialTokens::kParse);
  if (flags.output.json) {
    print_json({{"tokens", tokens}});
  } else {
    fmt::print("{}\n", fmt::join(tokens, " "));
  }
  return kOk;
}

}  // namespace

void add_encode(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<EncodeFlags>();
  CLI::App& command = add_command(
      app, "encode",
      "Writes the exact prompt of a conversation: {messages, thinking_mode, drop_thinking,\n"
      "reasoning_effort} as JSON in, the bytes the model is given out, without a newline.",
      "  precis encode request.json\n"
      "  echo '{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}' | precis encode - --ids\n"
      "  precis encode --cases cases.json     checks a file of conformance cases\n");
  auto* input =
      command.add_option("FILE", flags->input, "The request as JSON; - for standard input");
  auto* cases =
      command.add_option("--cases", flags->cases, "Check every case of this file instead")
          ->excludes(input);
  auto* ids =
      command.add_flag("--ids", flags->ids, "Token numbers instead of text")->excludes(cases);
  command
      .add_flag("--parse", flags->parse,
                "The other way: {text, thinking_mode} in, the assistant message as JSON out")
      ->excludes(cases)
      ->excludes(ids);
  command
      .add_option("--effort-style", flags->effort_style,
                  "The release whose reasoning-effort texts are meant: preview or 0731")
      ->check(CLI::IsMember({"preview", "0731"}))
      ->capture_default_str();
  add_model_flag(command, flags->model);
  command.add_flag("--json", flags->output.json, "JSON for --ids, --cases and errors");
  command.callback([flags, &exit_code] {
    if (flags->input.empty() && flags->cases.empty()) throw CLI::RequiredError("FILE or --cases");
    exit_code = exit_code_of(encode(*flags), flags->output.format());
  });
}

}  // namespace precis::cli
