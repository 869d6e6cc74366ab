// Contexts of lines: noise or look-alikes with needles at random places among them.
#pragma once

#include <string>
#include <vector>

#include "eval/tasks/task.h"

namespace precis {

/// Appends lines of the haystack with the needles among them, in the order given, until `n_tokens`
/// are full; no line end comes last.
///
/// `next_line` makes the lines of the haystack.
/// Requires  the needles fit
std::vector<Placed> place_in_lines(const Tokenizer& tokenizer, Draws& draws, std::int64_t n_tokens,
                                   const std::vector<Needle>& needles,
                                   const std::function<std::string()>& next_line, PromptText& text);

}  // namespace precis
