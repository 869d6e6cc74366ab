// UTF-8: finding the next character, and replacing what is not one.
//
// Ill-formed bytes become one U+FFFD per maximal subpart (Unicode 3.9, table 3-8), which is what
// Python's "replace" handler and Rust's from_utf8_lossy both do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace precis::utf8 {

inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

enum class StepKind : std::uint8_t {
  kCharacter,   // a well-formed character
  kInvalid,     // a maximal ill-formed part
  kIncomplete,  // the text ends inside a character that is well-formed so far
};

struct Step {
  StepKind kind;
  std::size_t n_bytes;      // at least 1
  char32_t code_point = 0;  // for kCharacter
};

/// What stands at the start of `text`.
///
/// Requires  text is not empty
Step next(std::string_view text);

/// Whether the whole of `text` is well-formed.
bool is_valid(std::string_view text);

/// Appends `text` to `out`, ill-formed parts replaced.
void append_lossy(std::string_view text, std::string& out);

/// Appends one character.
///
/// Requires  code_point is a Unicode scalar value
void append(char32_t code_point, std::string& out);

}  // namespace precis::utf8
