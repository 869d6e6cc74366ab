// A regular expression of a tokenizer.json, run by PCRE2.
//
// The `tokenizers` library runs these patterns with Oniguruma.  Only the constructs that mean the
// same in both are accepted; `\s` and `\S` are rewritten, since PCRE2 counts U+180E as a space.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "precis/status.h"

struct pcre2_real_code_8;
struct pcre2_real_match_data_8;
struct pcre2_real_jit_stack_8;
struct pcre2_real_match_context_8;

namespace precis {

/// What one thread needs while matching.  Not shared between threads; serves any pattern.
class MatchScratch {
 public:
  MatchScratch();
  ~MatchScratch();
  MatchScratch(const MatchScratch&) = delete;
  MatchScratch& operator=(const MatchScratch&) = delete;

 private:
  friend class Pattern;
  pcre2_real_match_data_8* match_data_;
  pcre2_real_match_context_8* match_context_;
  pcre2_real_jit_stack_8* jit_stack_;
};

struct MatchRange {
  std::size_t begin;
  std::size_t end;
};

class Pattern {
 public:
  /// Errors    kUnsupported — not a valid pattern, or one whose meaning depends on the engine
  static Result<Pattern> compile(std::string_view regex);

  /// Finds the first match at or after `from`.  A match that exhausts the engine counts as none.
  ///
  /// Requires  text is valid UTF-8; from is the start of a character or text.size()
  bool find(std::string_view text, std::size_t from, MatchScratch& scratch,
            MatchRange* match) const;

 private:
  explicit Pattern(std::shared_ptr<pcre2_real_code_8> code) : code_(std::move(code)) {}
  std::shared_ptr<pcre2_real_code_8> code_;
};

}  // namespace precis
