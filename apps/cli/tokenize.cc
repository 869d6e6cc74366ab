// precis tokenize: text to token numbers and back.
#include <charconv>

#include <fmt/format.h>

#include "precis/text.h"

#include "cli/commands.h"
#include "cli/input.h"
#include "cli/json.h"
#include "cli/options.h"

namespace precis::cli {
namespace {

struct TokenizeFlags {
  ModelFlags model;
  OutputFlags output;
  std::vector<std::string> words;
  std::string file;
  bool decode = false;
  bool no_special = false;
};

// Arguments first, then --file, then standard input.
Result<std::string> input_text(const TokenizeFlags& flags) {
  if (!flags.words.empty()) return fmt::format("{}", fmt::join(flags.words, " "));
  return read_input(flags.file.empty() ? "-" : flags.file);
}

Result<std::vector<TokenId>> parse_tokens(std::string_view text, int vocab_size) {
  constexpr std::string_view kSeparators = " \t\r\n,[]";
  std::vector<TokenId> tokens;
  while (true) {
    const std::size_t begin = text.find_first_not_of(kSeparators);
    if (begin == std::string_view::npos) return tokens;
    text.remove_prefix(begin);
    const std::string_view word = text.substr(0, text.find_first_of(kSeparators));
    TokenId token = 0;
    const auto [end, status] = std::from_chars(word.begin(), word.end(), token);
    if (status != std::errc() || end != word.end() || token < 0 || token >= vocab_size) {
      return Error{ErrorCode::kInvalidArgument,
                   fmt::format("--decode: want token numbers between 0 and {}, found \"{}\"",
                               vocab_size - 1, word)};
    }
    tokens.push_back(token);
    text.remove_prefix(word.size());
  }
}

Result<void> tokenize(const TokenizeFlags& flags) {
  PRECIS_ASSIGN_OR_RETURN(const std::filesystem::path model, model_path(flags.model));
  PRECIS_ASSIGN_OR_RETURN(const Tokenizer tokenizer,
                          Tokenizer::load((model / "tokenizer.json").string()));
  PRECIS_ASSIGN_OR_RETURN(const std::string input, input_text(flags));
  std::string text = input;
  std::vector<TokenId> tokens;
  if (flags.decode) {
    PRECIS_ASSIGN_OR_RETURN(tokens, parse_tokens(input, tokenizer.vocab_size()));
    text = tokenizer.decode(tokens, flags.no_special ? SpecialOutput::kSkip : SpecialOutput::kKeep);
  } else {
    PRECIS_TRY(require_utf8(input, flags.file.empty() ? "the text" : flags.file));
    tokens =
        tokenizer.encode(input, flags.no_special ? SpecialTokens::kAsText : SpecialTokens::kParse);
  }
  if (flags.output.json) {
    print_json({{"n_tokens", tokens.size()}, {"tokens", tokens}, {"text", text}});
  } else if (flags.decode) {
    fmt::print("{}\n", text);
  } else {
    fmt::print("{}\n", fmt::join(tokens, " "));
  }
  return {};
}

}  // namespace

void add_tokenize(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<TokenizeFlags>();
  CLI::App& command =
      add_command(app, "tokenize",
                  "Turns text into token numbers, or numbers into text with --decode.\n"
                  "Reads the arguments, a file, or standard input.",
                  "  precis tokenize \"Call me Ishmael.\"\n"
                  "  precis tokenize --file book.txt --json | jq .n_tokens\n"
                  "  precis tokenize --decode 0 3 271\n");
  command.add_option("TEXT", flags->words, "The text, or token numbers with --decode");
  command.add_option("-f,--file", flags->file, "Read this file; - for standard input");
  command.add_flag("-d,--decode", flags->decode, "From token numbers to text");
  command.add_flag("--no-special", flags->no_special,
                   "Special tokens are plain text on the way in and left out on the way back");
  add_model_flag(command, flags->model);
  add_output_flags(command, flags->output);
  command.callback(
      [flags, &exit_code] { exit_code = exit_code_of(tokenize(*flags), flags->output.format()); });
}

}  // namespace precis::cli
