// From the compressed rows that an answer read to the passages of the document behind them.
//
// Pure bookkeeping over positions: tokens of the session, bytes of the document.  Row r of ratio R
// pools the tokens r·R − R … r·R + R − 1.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "precis/session.h"

namespace precis::cli {

/// A text and where its tokens lie, in bytes of the text and in positions of the session.
struct TokenizedDocument {
  std::string text;
  std::int64_t first_token = 0;           // session position of the first token
  std::vector<std::int64_t> token_bytes;  // offset of every token, then the end of the last

  std::int64_t n_tokens() const { return static_cast<std::int64_t>(token_bytes.size()) - 1; }
};

/// Attention probability by compressed row.
using RowMass = std::map<std::int32_t, double>;

/// Adds what one token read in every sparse layer of ratio `ratio`.
void add_rows(std::span<const SelectedRows> selected, int ratio, RowMass& mass);

/// Which tokens of an answer say something that its question did not: the value, not the sentence
/// around it.  All tokens where there is no such word.
///
/// Requires  the pieces are the answer's tokens as text, in order
std::vector<bool> value_tokens(std::span<const std::string> pieces, std::string_view question);

/// A stretch of the document, in bytes of its text, on character boundaries.
struct Passage {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::int64_t line = 1;       // of `begin`, from 1
  double attention_share = 0;  // of all attention to rows of the document
};

/// The passages with the most attention, most first.  Rows that are at most three apart are one
/// passage; rows outside the document, and rows and passages far weaker than the strongest, are
/// left out.
std::vector<Passage> find_passages(const TokenizedDocument& document, const RowMass& mass,
                                   int ratio, std::size_t max_passages);

/// The passage with some text around it, cut at spaces, in one line.
struct Excerpt {
  std::string before;
  std::string passage;
  std::string after;
};
Excerpt excerpt(std::string_view text, const Passage& passage, std::int64_t context_bytes);

}  // namespace precis::cli
