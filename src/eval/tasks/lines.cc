#include "eval/tasks/lines.h"

namespace precis {

std::vector<Placed> place_in_lines(const Tokenizer& tokenizer, Draws& draws, std::int64_t n_tokens,
                                   const std::vector<Needle>& needles,
                                   const std::function<std::string()>& next_line,
                                   PromptText& text) {
  const auto encode = [&](const std::string& line) {
    return tokenizer.encode(line, SpecialTokens::kAsText);
  };
  std::int64_t room = n_tokens;
  for (const Needle& needle : needles) {
    room -= static_cast<std::int64_t>(encode(needle.text + "\n").size());
  }
  std::vector<Sentence> lines;
  for (;;) {
    Sentence line{next_line() + "\n", {}};
    line.tokens =
        !lines.empty() && line.text == lines.back().text ? lines.back().tokens : encode(line.text);
    room -= static_cast<std::int64_t>(line.tokens.size());
    if (room < 0) break;
    lines.push_back(std::move(line));
  }

  const std::vector<std::size_t> before =
      draws.choose(needles.size(), lines.size() + needles.size());
  std::vector<Placed> placed;
  auto line = lines.begin();
  const std::size_t n_lines = lines.size() + needles.size();
  for (std::size_t i = 0; i < n_lines; ++i) {
    const bool is_last = i + 1 == n_lines;
    if (placed.size() < needles.size() && before[placed.size()] == i) {
      const Needle& needle = needles[placed.size()];
      const std::string piece = needle.text + (is_last ? "" : "\n");
      const std::vector<TokenId> tokens = encode(piece);
      placed.push_back(
          {text.n_tokens(), value_span(tokenizer, tokens, needle.value, text.n_tokens())});
      text.add(piece, tokens);
    } else if (is_last) {
      text.add(std::string_view(line->text).substr(0, line->text.size() - 1));
    } else {
      text.add(line->text, line->tokens);
      ++line;
    }
  }
  return placed;
}

}  // namespace precis
