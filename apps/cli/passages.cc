#include "cli/passages.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <set>

namespace precis::cli {
namespace {

// Rows below this share of the strongest one are noise at the edge of what was read.
constexpr double kWeakRow = 0.05;
constexpr double kWeakPassage = 0.15;
// A row pools two blocks, so rows two apart touch; three apart leave one block between them.
constexpr std::int32_t kJoinRows = 3;

// Words of answers that questions imply without saying them.
constexpr std::array<std::string_view, 6> kTemplateWords = {"the", "is", "are", "for", "of", "and"};

bool is_word_byte(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return std::isalnum(byte) != 0 || c == '-' || byte >= 0x80;
}

struct Word {
  std::size_t begin;
  std::size_t end;
  std::string lower;
};

std::vector<Word> words(std::string_view text) {
  std::vector<Word> out;
  for (std::size_t i = 0; i < text.size();) {
    if (!is_word_byte(text[i])) {
      ++i;
      continue;
    }
    Word word{.begin = i, .end = i, .lower = {}};
    while (i < text.size() && is_word_byte(text[i])) {
      word.lower += static_cast<char>(std::tolower(static_cast<unsigned char>(text[i++])));
    }
    word.end = i;
    out.push_back(std::move(word));
  }
  return out;
}

bool continues_character(char c) {
  return (static_cast<unsigned char>(c) & 0xC0) == 0x80;
}

std::string in_one_line(std::string_view text) {
  std::string out(text);
  std::ranges::replace_if(
      out, [](char c) { return std::iscntrl(static_cast<unsigned char>(c)) != 0; }, ' ');
  return out;
}

struct TokenRange {
  std::int64_t begin;
  std::int64_t end;
};

// The tokens of the document, from 0, that rows [first, last] pool.
TokenRange pooled_tokens(const TokenizedDocument& document, std::int32_t first, std::int32_t last,
                         int ratio) {
  const std::int64_t begin = std::int64_t{first} * ratio - ratio - document.first_token;
  const std::int64_t end = std::int64_t{last} * ratio + ratio - document.first_token;
  return {std::max<std::int64_t>(begin, 0), std::min(end, document.n_tokens())};
}

Passage to_passage(const TokenizedDocument& document, TokenRange tokens) {
  const std::string& text = document.text;
  Passage passage;
  passage.begin = document.token_bytes[static_cast<std::size_t>(tokens.begin)];
  passage.end = document.token_bytes[static_cast<std::size_t>(tokens.end)];
  // A token may begin or end inside a character.
  while (passage.begin > 0 && continues_character(text[static_cast<std::size_t>(passage.begin)])) {
    --passage.begin;
  }
  while (passage.end < static_cast<std::int64_t>(text.size()) &&
         continues_character(text[static_cast<std::size_t>(passage.end)])) {
    ++passage.end;
  }
  passage.line = 1 + std::count(text.begin(), text.begin() + passage.begin, '\n');
  return passage;
}

}  // namespace

void add_rows(std::span<const SelectedRows> selected, int ratio, RowMass& mass) {
  for (const SelectedRows& layer : selected) {
    if (layer.ratio != ratio) continue;
    for (std::size_t i = 0; i < layer.rows.size(); ++i) mass[layer.rows[i]] += layer.mass[i];
  }
}

std::vector<bool> value_tokens(std::span<const std::string> pieces, std::string_view question) {
  std::set<std::string, std::less<>> known(kTemplateWords.begin(), kTemplateWords.end());
  for (const Word& word : words(question)) known.insert(word.lower);

  std::string answer;
  for (const std::string& piece : pieces) answer += piece;
  std::vector<bool> is_value_byte(answer.size(), false);
  for (const Word& word : words(answer)) {
    if (known.contains(word.lower)) continue;
    std::fill(is_value_byte.begin() + static_cast<std::ptrdiff_t>(word.begin),
              is_value_byte.begin() + static_cast<std::ptrdiff_t>(word.end), true);
  }
  std::vector<bool> out;
  auto byte = is_value_byte.begin();
  for (const std::string& piece : pieces) {
    const auto next = byte + static_cast<std::ptrdiff_t>(piece.size());
    out.push_back(std::find(byte, next, true) != next);
    byte = next;
  }
  if (std::ranges::find(out, true) == out.end()) out.assign(pieces.size(), true);
  return out;
}

std::vector<Passage> find_passages(const TokenizedDocument& document, const RowMass& mass,
                                   int ratio, std::size_t max_passages) {
  struct Run {
    std::int32_t first;
    std::int32_t last;
    double mass;
  };
  RowMass inside;
  double total = 0;
  double strongest = 0;
  for (const auto& [row, row_mass] : mass) {
    const TokenRange tokens = pooled_tokens(document, row, row, ratio);
    if (tokens.begin >= tokens.end) continue;
    inside[row] = row_mass;
    total += row_mass;
    strongest = std::max(strongest, row_mass);
  }
  std::vector<Run> runs;
  for (const auto& [row, row_mass] : inside) {
    if (row_mass <= kWeakRow * strongest) continue;
    if (!runs.empty() && row - runs.back().last <= kJoinRows) {
      runs.back().last = row;
      runs.back().mass += row_mass;
    } else {
      runs.push_back({row, row, row_mass});
    }
  }
  std::ranges::stable_sort(runs, [](const Run& a, const Run& b) { return a.mass > b.mass; });

  std::vector<Passage> passages;
  for (const Run& run : runs) {
    if (passages.size() == max_passages || run.mass < kWeakPassage * runs.front().mass) break;
    Passage passage = to_passage(document, pooled_tokens(document, run.first, run.last, ratio));
    passage.attention_share = run.mass / total;
    passages.push_back(passage);
  }
  return passages;
}

Excerpt excerpt(std::string_view text, const Passage& passage, std::int64_t context_bytes) {
  const auto begin = static_cast<std::size_t>(passage.begin);
  const auto end = static_cast<std::size_t>(passage.end);
  std::size_t first = begin;
  if (passage.begin > context_bytes) {
    const std::size_t space =
        text.find_first_of(" \n", begin - static_cast<std::size_t>(context_bytes));
    first = std::min(space + 1, begin);
  } else {
    first = 0;
  }
  std::size_t last = std::min(text.size(), end + static_cast<std::size_t>(context_bytes));
  if (last < text.size()) {
    const std::size_t space = text.find_last_of(" \n", last);
    last = space == std::string_view::npos ? end : std::max(space, end);
  }
  return {(first > 0 ? "… " : "") + in_one_line(text.substr(first, begin - first)),
          in_one_line(text.substr(begin, end - begin)),
          in_one_line(text.substr(end, last - end)) + (last < text.size() ? " …" : "")};
}

}  // namespace precis::cli
