#include "eval/haystack.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <unordered_set>

#include <xxhash.h>

#include "base/check.h"
#include "eval/draws.h"

namespace precis {
namespace {

constexpr std::int64_t kPhaseTokens = 128;  // sliding window and HCA block

std::vector<TokenId> encoded(const Tokenizer& tokenizer, std::string_view text) {
  return tokenizer.encode(text, SpecialTokens::kAsText);
}

bool is_closing(char c) {
  return c == '"' || c == '\'' || c == ')' || c == ']';
}

// The boundary before sentence i for each needle, given the tokens before each sentence.
std::vector<std::size_t> choose_boundaries(const std::vector<std::int64_t>& before,
                                           const std::vector<Needle>& needles,
                                           const std::vector<std::int64_t>& needle_tokens,
                                           std::int64_t start) {
  const std::int64_t total = before.back();
  const std::int64_t reach = total / 200;
  std::vector<std::size_t> boundaries;
  std::int64_t inserted = start;
  std::size_t least = 0;
  for (std::size_t n = 0; n < needles.size(); ++n) {
    const auto want =
        static_cast<std::int64_t>(std::llround(needles[n].depth * static_cast<double>(total)));
    const auto above = std::ranges::lower_bound(before, want);
    auto best = static_cast<std::size_t>(above - before.begin());
    if (best > 0 && want - before[best - 1] < before[best] - want) --best;
    best = std::max(best, least);
    if (needles[n].phase >= 0) {
      std::int64_t best_off = kPhaseTokens;
      const auto from =
          static_cast<std::size_t>(std::ranges::lower_bound(before, want - reach) - before.begin());
      for (std::size_t i = std::max(from, least); i < before.size() && before[i] <= want + reach;
           ++i) {
        const std::int64_t off = std::abs((before[i] + inserted) % kPhaseTokens - needles[n].phase);
        if (std::min(off, kPhaseTokens - off) >= best_off) continue;
        best_off = std::min(off, kPhaseTokens - off);
        best = i;
      }
    }
    boundaries.push_back(best);
    least = best;
    inserted += needle_tokens[n];
  }
  return boundaries;
}

}  // namespace

std::vector<Sentence> generated_prose(const Tokenizer& tokenizer, std::uint64_t seed,
                                      std::int64_t n_tokens) {
  constexpr int kMeanParagraph = 7;  // sentences
  std::vector<Sentence> sentences;
  std::unordered_set<std::uint64_t> seen;
  std::int64_t total = 0;
  bool starts_line = true;
  for (std::uint64_t i = 0;; ++i) {
    std::string text = prose_sentence(seed, i);
    if (!seen.insert(XXH3_64bits(text.data(), text.size())).second) continue;
    const bool ends_line = random_bits(seed, ~i) % kMeanParagraph == 0;
    text = (starts_line ? "" : " ") + text + (ends_line ? "\n" : "");
    starts_line = ends_line;
    std::vector<TokenId> tokens = encoded(tokenizer, text);
    total += static_cast<std::int64_t>(tokens.size());
    if (total > n_tokens) return sentences;
    sentences.push_back({std::move(text), std::move(tokens)});
  }
}

std::vector<std::string_view> split_sentences(std::string_view text) {
  std::vector<std::string_view> pieces;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < text.size();) {
    const char c = text[i++];
    bool ends = c == '\n';
    if (c == '.' || c == '!' || c == '?') {
      while (i < text.size() && is_closing(text[i])) ++i;
      ends = i == text.size() || text[i] == ' ' || text[i] == '\n' || text[i] == '\r';
    }
    if (!ends) continue;
    while (i < text.size() && (text[i] == '\n' || text[i] == '\r')) ++i;
    pieces.push_back(text.substr(begin, i - begin));
    begin = i;
  }
  if (begin < text.size()) pieces.push_back(text.substr(begin));
  return pieces;
}

std::vector<Sentence> sentences_of(const Tokenizer& tokenizer, std::string_view text, double start,
                                   std::int64_t n_tokens) {
  const std::vector<std::string_view> pieces = split_sentences(text);
  PRECIS_CHECK(!pieces.empty());
  const auto first = static_cast<std::size_t>(start * static_cast<double>(text.size()));
  std::size_t at = 0;
  while (at + 1 < pieces.size() &&
         static_cast<std::size_t>(pieces[at].data() - text.data()) < first) {
    ++at;
  }
  std::vector<Sentence> sentences;
  std::int64_t total = 0;
  for (;; at = (at + 1) % pieces.size()) {
    std::string piece(pieces[at]);
    // Where the end of the text is followed by its beginning, a line ends.
    if (at + 1 == pieces.size() && !piece.ends_with('\n')) piece += '\n';
    std::vector<TokenId> tokens = encoded(tokenizer, piece);
    total += static_cast<std::int64_t>(tokens.size());
    if (total > n_tokens) return sentences;
    sentences.push_back({std::move(piece), std::move(tokens)});
  }
}

SourceSpan value_span(const Tokenizer& tokenizer, std::span<const TokenId> tokens,
                      std::string_view value, std::int64_t first) {
  if (value.empty()) return {};
  std::string text;
  for (const TokenId token : tokens) text += tokenizer.token_bytes(token);
  const std::size_t begin = text.rfind(value);
  if (begin == std::string::npos) return {};
  SourceSpan span{first, 0};
  std::size_t at = 0;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const std::size_t end = at + tokenizer.token_bytes(tokens[i]).size();
    if (end > begin && at < begin + value.size()) {
      // A token that is the space before the value alone says nothing about it.
      if (span.n_tokens == 0) span.first = first + static_cast<std::int64_t>(i);
      ++span.n_tokens;
    }
    at = end;
  }
  return span;
}

std::int64_t most_tokens(const Tokenizer& tokenizer, const std::string& sentence) {
  return std::max(std::ssize(encoded(tokenizer, " " + sentence)),
                  std::ssize(encoded(tokenizer, sentence + "\n")));
}

std::vector<Placed> place_needles(const Tokenizer& tokenizer, const std::vector<Sentence>& haystack,
                                  const std::vector<Needle>& needles, PromptText& text) {
  std::vector<std::int64_t> before = {0};
  for (const Sentence& sentence : haystack) {
    before.push_back(before.back() + static_cast<std::int64_t>(sentence.tokens.size()));
  }
  std::vector<std::int64_t> needle_tokens;
  for (const Needle& needle : needles) {
    needle_tokens.push_back(
        static_cast<std::int64_t>(encoded(tokenizer, " " + needle.text).size()));
  }
  const std::vector<std::size_t> boundaries =
      choose_boundaries(before, needles, needle_tokens, text.n_tokens());

  std::vector<Placed> placed;
  std::size_t n = 0;
  for (std::size_t i = 0; i <= haystack.size(); ++i) {
    for (; n < needles.size() && boundaries[n] == i; ++n) {
      // At the start of a line a needle gets a line of its own.
      const bool own_line = text.text().empty() || text.text().back() == '\n';
      const std::string piece = own_line ? needles[n].text + "\n" : " " + needles[n].text;
      const std::vector<TokenId> tokens = encoded(tokenizer, piece);
      const std::int64_t first = text.n_tokens();
      placed.push_back({first, value_span(tokenizer, tokens, needles[n].value, first)});
      text.add(piece, tokens);
    }
    if (i < haystack.size()) text.add(haystack[i].text, haystack[i].tokens);
  }
  return placed;
}

}  // namespace precis
