// Splits text into the pieces within which BPE may merge.
//
// A chain of splitting rules, each applied to every piece of the one before.  Pieces are views of
// the text and cover it in order, except where a rule removes its matches.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "text/pattern.h"

namespace precis {

/// What becomes of the matches of a rule, by the names of the `tokenizers` library.
enum class SplitBehavior : std::uint8_t {
  kRemoved,
  kIsolated,
  kMergedWithPrevious,
  kMergedWithNext,
  kContiguous,
};

struct SplitRule {
  Pattern pattern;
  SplitBehavior behavior;
  bool inverted;  // the pattern describes what lies between the matches
};

using Pieces = std::vector<std::string_view>;

/// Applies `rules` in turn to `text`.
///
/// Requires  text is valid UTF-8
void split_text(const std::vector<SplitRule>& rules, std::string_view text, MatchScratch& scratch,
                Pieces& pieces);

}  // namespace precis
