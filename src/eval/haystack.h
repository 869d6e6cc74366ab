// Text to hide things in, cut at sentences.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "eval/prompt.h"

namespace precis {

/// A sentence with the white space that stands before it, or with the line end behind it.
struct Sentence {
  std::string text;
  std::vector<TokenId> tokens;
};

/// Sentences of generated prose: sentence i depends on the seed and i alone, and none comes twice
/// within one list.
///
/// Ensures   the list ends before the sentence that would pass n_tokens
/// Cost      about 0.6 µs a token
std::vector<Sentence> generated_prose(const Tokenizer& tokenizer, std::uint64_t seed,
                                      std::int64_t n_tokens);

/// The text of the generated sentence `i`, without white space around it.
std::string prose_sentence(std::uint64_t seed, std::uint64_t i);

/// The sentences of `text` from the one at which `start` (0 … 1) of it lies, wrapping at its end.
///
/// Requires  text holds something but white space
/// Ensures   as generated_prose
std::vector<Sentence> sentences_of(const Tokenizer& tokenizer, std::string_view text, double start,
                                   std::int64_t n_tokens);

/// `text` cut into pieces whose concatenation it is: each ends with a sentence's last mark, and
/// with the line ends behind it.
std::vector<std::string_view> split_sentences(std::string_view text);

/// A sentence to hide, and where.
struct Needle {
  std::string text;
  std::string value;  // the part whose tokens an answer copies; may be empty
  double depth = 0;   // 0 … 1 of the haystack's tokens
  int phase = -1;     // wanted start modulo 128; -1 = any
};

/// Where a needle came to lie, in tokens from the start of the prompt's text.
struct Placed {
  std::int64_t first = 0;
  SourceSpan value;
};

/// The tokens of `value` inside `tokens`, the first of which is token `first` of the context; none
/// where it does not occur.
SourceSpan value_span(const Tokenizer& tokenizer, std::span<const TokenId> tokens,
                      std::string_view value, std::int64_t first);

/// Most tokens that a sentence takes among others or on a line of its own.
std::int64_t most_tokens(const Tokenizer& tokenizer, const std::string& sentence);

/// Appends the haystack to `text` with the needles at boundaries between its sentences, in their
/// order where depths are equal.
///
/// A needle with a phase moves by at most 1/200 of the haystack to come near it.
/// Requires  depths ascending
std::vector<Placed> place_needles(const Tokenizer& tokenizer, const std::vector<Sentence>& haystack,
                                  const std::vector<Needle>& needles, PromptText& text);

}  // namespace precis
