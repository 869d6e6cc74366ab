// The splitting behaviours of the `tokenizers` library (normalizer.rs, SplitDelimiterBehavior).
#include "text/pre_tokenizer.h"

#include <utility>

#include "base/check.h"

namespace precis {
namespace {

struct Span {
  std::size_t begin;
  std::size_t end;
  bool is_match;
};

void find_spans(const SplitRule& rule, std::string_view text, MatchScratch& scratch,
                std::vector<Span>& spans) {
  spans.clear();
  std::size_t covered = 0;
  std::size_t from = 0;
  MatchRange match;
  while (from <= text.size() && rule.pattern.find(text, from, scratch, &match)) {
    if (covered < match.begin) spans.push_back({covered, match.begin, rule.inverted});
    if (match.begin < match.end) spans.push_back({match.begin, match.end, !rule.inverted});
    covered = match.end;
    from = match.end;
    if (match.begin == match.end) {
      // An empty match splits where it is; the search goes on behind the next character.
      do {
        ++from;
      } while (from < text.size() && (static_cast<unsigned char>(text[from]) & 0xC0) == 0x80);
    }
  }
  if (covered < text.size()) spans.push_back({covered, text.size(), rule.inverted});
}

// Spans touch each other, so joining is widening.
void join_spans(SplitBehavior behavior, std::vector<Span>& spans) {
  std::vector<Span> joined;
  for (const Span& span : spans) {
    bool joins_last = false;
    if (!joined.empty()) {
      const Span& last = joined.back();
      switch (behavior) {
        case SplitBehavior::kMergedWithPrevious:
          joins_last = span.is_match && !last.is_match;
          break;
        case SplitBehavior::kMergedWithNext: joins_last = !span.is_match && last.is_match; break;
        case SplitBehavior::kContiguous: joins_last = span.is_match == last.is_match; break;
        case SplitBehavior::kRemoved:
        case SplitBehavior::kIsolated: break;
      }
    }
    if (!joins_last) {
      joined.push_back(span);
      continue;
    }
    joined.back().end = span.end;
    // A joined pair takes no further partner; a contiguous run goes on.
    if (behavior == SplitBehavior::kMergedWithPrevious) joined.back().is_match = true;
    if (behavior == SplitBehavior::kMergedWithNext) joined.back().is_match = false;
  }
  spans = std::move(joined);
}

}  // namespace

void split_text(const std::vector<SplitRule>& rules, std::string_view text, MatchScratch& scratch,
                Pieces& pieces) {
  pieces.clear();
  if (!text.empty()) pieces.push_back(text);
  Pieces next;
  std::vector<Span> spans;
  for (const SplitRule& rule : rules) {
    next.clear();
    for (const std::string_view piece : pieces) {
      find_spans(rule, piece, scratch, spans);
      if (rule.behavior != SplitBehavior::kIsolated) join_spans(rule.behavior, spans);
      for (const Span& span : spans) {
        if (rule.behavior == SplitBehavior::kRemoved && span.is_match) continue;
        next.push_back(piece.substr(span.begin, span.end - span.begin));
      }
    }
    std::swap(pieces, next);
  }
}

}  // namespace precis
