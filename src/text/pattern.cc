// PCRE2 behind Pattern: the check for portable constructs, compilation, matching.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/pattern.h"

#include <fmt/format.h>
#include <pcre2.h>

#include "base/check.h"

namespace precis {
namespace {

// A run of 1 MB of one class backtracks within registers; alternations nested in repeats need the
// stack, and 8 MB covers what 1 MB of text can use.
constexpr std::size_t kJitStackStartBytes = 64 << 10;
constexpr std::size_t kJitStackMaxBytes = 8 << 20;

// Measured over all code points against Oniguruma of tokenizers 0.23: its \s is \p{Z}, U+0009 to
// U+000D and U+0085.
constexpr std::string_view kSpaceClass = "\\t-\\r\\x{85}\\p{Z}";

constexpr std::string_view kSameInBothEngines = "pPdDrntv";

Error unsupported(std::string_view regex, std::string_view what) {
  return Error{
      ErrorCode::kUnsupported,
      fmt::format("regular expression '{}': want constructs that every engine reads alike, "
                  "found {}",
                  regex, what)};
}

Result<std::string> to_pcre2(std::string_view regex) {
  std::string out;
  bool in_class = false;
  for (std::size_t i = 0; i < regex.size(); ++i) {
    const char c = regex[i];
    if (c == '\\') {
      if (++i == regex.size()) return unsupported(regex, "a '\\' at the end");
      const char escaped = regex[i];
      if (escaped == 's') {
        out += in_class ? std::string(kSpaceClass) : fmt::format("[{}]", kSpaceClass);
      } else if (escaped == 'S' && !in_class) {
        out += fmt::format("[^{}]", kSpaceClass);
      } else if (std::isalnum(static_cast<unsigned char>(escaped)) &&
                 kSameInBothEngines.find(escaped) == kSameInBothEngines.npos) {
        return unsupported(regex, fmt::format("'\\{}'", escaped));
      } else {
        out += c;
        out += escaped;
      }
      continue;
    }
    // Oniguruma nests classes and intersects them with "&&"; PCRE2 reads both as characters.
    if (in_class && (c == '[' || regex.substr(i).starts_with("&&"))) {
      return unsupported(regex, "a class within a class");
    }
    if (c == '[') in_class = true;
    if (c == ']') in_class = false;
    out += c;
  }
  return out;
}

}  // namespace

MatchScratch::MatchScratch()
    : match_data_(pcre2_match_data_create(1, nullptr)),
      match_context_(pcre2_match_context_create(nullptr)),
      jit_stack_(pcre2_jit_stack_create(kJitStackStartBytes, kJitStackMaxBytes, nullptr)) {
  PRECIS_CHECK(match_data_ != nullptr);
  PRECIS_CHECK(match_context_ != nullptr);
  if (jit_stack_ != nullptr) pcre2_jit_stack_assign(match_context_, nullptr, jit_stack_);
}

MatchScratch::~MatchScratch() {
  pcre2_jit_stack_free(jit_stack_);
  pcre2_match_context_free(match_context_);
  pcre2_match_data_free(match_data_);
}

Result<Pattern> Pattern::compile(std::string_view regex) {
  PRECIS_ASSIGN_OR_RETURN(const std::string portable, to_pcre2(regex));
  int error_code = 0;
  PCRE2_SIZE error_offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(portable.data()), portable.size(),
                                   PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error_code,
                                   &error_offset, nullptr);
  if (code == nullptr) {
    char text[256];
    pcre2_get_error_message(error_code, reinterpret_cast<PCRE2_UCHAR*>(text), sizeof(text));
    return unsupported(regex, fmt::format("at byte {}: {}", error_offset, text));
  }
  // Where the machine has no JIT the interpreter serves, with the same matches.
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
  return Pattern(std::shared_ptr<pcre2_code>(code, pcre2_code_free));
}

bool Pattern::find(std::string_view text, std::size_t from, MatchScratch& scratch,
                   MatchRange* match) const {
  const int rc = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                             from, PCRE2_NO_UTF_CHECK, scratch.match_data_, scratch.match_context_);
  // 0 says that groups did not fit; the range of the whole match is there all the same.
  if (rc < 0) return false;
  const PCRE2_SIZE* range = pcre2_get_ovector_pointer(scratch.match_data_);
  *match = {range[0], range[1]};
  return true;
}

}  // namespace precis
