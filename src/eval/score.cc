#include "eval/score.h"

#include <algorithm>
#include <numbers>
#include <numeric>
#include <unordered_map>

#include <fmt/format.h>

namespace precis {
namespace {

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

// Without outer spaces and one final period.
std::string_view bare(std::string_view text) {
  text = trimmed(text);
  if (text.ends_with('.')) text = trimmed(text.substr(0, text.size() - 1));
  return text;
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

std::u32string characters(std::string_view text) {
  std::u32string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte & 0xC0) == 0x80 && !out.empty()) {
      out.back() = (out.back() << 6) | (byte & 0x3F);
    } else {
      out.push_back(byte < 0x80   ? byte
                    : byte < 0xE0 ? byte & 0x1F
                    : byte < 0xF0 ? byte & 0x0F
                                  : byte & 0x07);
    }
  }
  return out;
}

struct Match {
  std::size_t a = 0;
  std::size_t b = 0;
  std::size_t size = 0;
};

struct Range {
  std::size_t a_low, a_high, b_low, b_high;
};

using Positions = std::unordered_map<char32_t, std::vector<std::size_t>>;

// Where each character of b occurs, popular ones left out.
Positions positions_of(const std::u32string& b) {
  Positions positions;
  for (std::size_t j = 0; j < b.size(); ++j) positions[b[j]].push_back(j);
  if (b.size() >= 200) {
    std::erase_if(positions,
                  [&](const auto& entry) { return entry.second.size() > b.size() / 100 + 1; });
  }
  return positions;
}

// The longest match in `range`; of equal ones the first in a, then the first in b.  Popular
// characters begin none, but extend one to both sides.
Match longest_match(const std::u32string& a, const std::u32string& b, const Positions& positions,
                    const Range& range) {
  Match best{range.a_low, range.b_low, 0};
  std::unordered_map<std::size_t, std::size_t> length_at;  // of the match that ends at b[j]
  for (std::size_t i = range.a_low; i < range.a_high; ++i) {
    std::unordered_map<std::size_t, std::size_t> next;
    if (const auto found = positions.find(a[i]); found != positions.end()) {
      for (const std::size_t j : found->second) {
        if (j < range.b_low) continue;
        if (j >= range.b_high) break;
        std::size_t size = 1;
        if (j > 0) {
          if (const auto before = length_at.find(j - 1); before != length_at.end()) {
            size += before->second;
          }
        }
        next[j] = size;
        if (size > best.size) best = {i + 1 - size, j + 1 - size, size};
      }
    }
    length_at = std::move(next);
  }
  while (best.a > range.a_low && best.b > range.b_low && a[best.a - 1] == b[best.b - 1]) {
    --best.a, --best.b, ++best.size;
  }
  while (best.a + best.size < range.a_high && best.b + best.size < range.b_high &&
         a[best.a + best.size] == b[best.b + best.size]) {
    ++best.size;
  }
  return best;
}

// Which of the pieces the reply is closest to.
void judge_piece(const EvalQuestion& question, const EvalReply& reply, Verdict& verdict) {
  const std::string_view text = trimmed(reply.text);
  if (!text.starts_with(question.pieces.code)) {
    verdict.detail = "no code";
    return;
  }
  const std::string_view rest = trimmed(text.substr(question.pieces.code.size()));
  verdict.score = sequence_ratio(question.references.front(), rest);
  verdict.exact = rest == question.references.front();
  double best = 0;
  for (std::size_t i = 0; i < question.pieces.texts.size(); ++i) {
    const double ratio = sequence_ratio(question.pieces.texts[i], rest);
    if (ratio <= best) continue;
    best = ratio;
    verdict.detail = question.pieces.names[i];
  }
}

}  // namespace

bool is_exact(std::string_view output, std::span<const std::string> references,
              std::span<const std::string> openings) {
  const std::string_view text = trimmed(output);
  const std::string_view line = bare(text.substr(0, text.find('\n')));
  return std::ranges::any_of(references, [&](std::string_view reference) {
    if (line == bare(reference)) return true;
    return std::ranges::any_of(openings, [&](std::string_view opening) {
      return line.starts_with(opening) && bare(line.substr(opening.size())) == bare(reference);
    });
  });
}

double contained_share(std::string_view output, std::span<const std::string> references) {
  if (references.empty()) return 0;
  const std::string text = lower(output);
  const auto n = std::ranges::count_if(references, [&](std::string_view reference) {
    return text.find(lower(reference)) != std::string::npos;
  });
  return static_cast<double>(n) / static_cast<double>(references.size());
}

double sequence_ratio(std::string_view a_text, std::string_view b_text) {
  const std::u32string a = characters(a_text);
  const std::u32string b = characters(b_text);
  if (a.empty() && b.empty()) return 1;
  const Positions positions = positions_of(b);
  std::size_t n_matches = 0;
  std::vector<Range> open = {{0, a.size(), 0, b.size()}};
  while (!open.empty()) {
    const Range range = open.back();
    open.pop_back();
    const Match match = longest_match(a, b, positions, range);
    if (match.size == 0) continue;
    n_matches += match.size;
    if (range.a_low < match.a && range.b_low < match.b) {
      open.push_back({range.a_low, match.a, range.b_low, match.b});
    }
    if (match.a + match.size < range.a_high && match.b + match.size < range.b_high) {
      open.push_back({match.a + match.size, range.a_high, match.b + match.size, range.b_high});
    }
  }
  return 2.0 * static_cast<double>(n_matches) / static_cast<double>(a.size() + b.size());
}

Verdict judge(const EvalPrompt& prompt, const EvalQuestion& question, const EvalReply& reply) {
  Verdict verdict;
  if (!prompt.targets.empty()) {
    const double sum = std::accumulate(reply.values.begin(), reply.values.end(), 0.0);
    verdict.score = sum / static_cast<double>(reply.values.size());
    verdict.exact = prompt.metric == EvalMetric::kAccuracy && verdict.score == 1;
    if (prompt.target_bytes > 0) {
      verdict.detail = fmt::format(
          "{:.4f} bits/byte", sum / std::numbers::ln2 / static_cast<double>(prompt.target_bytes));
    }
    return verdict;
  }
  verdict.contains = contained_share(reply.text, question.references);
  if (!question.pieces.texts.empty()) {
    judge_piece(question, reply, verdict);
    return verdict;
  }
  // A list is exact when it holds everything asked for; the rule of one line is for one value.
  verdict.exact = question.references.size() == 1
                      ? is_exact(reply.text, question.references, question.openings)
                      : verdict.contains == 1;
  verdict.score = prompt.metric == EvalMetric::kContains ? verdict.contains : verdict.exact;
  return verdict;
}

}  // namespace precis
