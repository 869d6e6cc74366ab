// How an output is judged: three exact rules, no model in the loop.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "eval/prompt.h"

namespace precis {

/// Whether the first line of `output` is a reference, alone or after one of the openings; outer
/// spaces and a final period do not count.
bool is_exact(std::string_view output, std::span<const std::string> references,
              std::span<const std::string> openings);

/// The share of references that occur in `output`, letter case of ASCII aside.
///
/// Source    NVIDIA/RULER, string_match_all
double contained_share(std::string_view output, std::span<const std::string> references);

/// 2 · matches / (length a + length b) over Unicode characters, as Python's
/// difflib.SequenceMatcher(None, a, b).ratio(), its rule for popular characters included: where b
/// has 200 or more characters, those that make up more than 1 % + 1 of it start no match.
double sequence_ratio(std::string_view a, std::string_view b);

struct Verdict {
  bool exact = false;
  double contains = 0;
  double score = 0;
  std::string detail;
};

/// Judges a reply by the metric of its prompt.
Verdict judge(const EvalPrompt& prompt, const EvalQuestion& question, const EvalReply& reply);

}  // namespace precis
